/* The least that C needs for the same work: what the simulator's hot paths are measured against.
 * Reads "CASE\n" from standard input, runs it, answers "NANOSECONDS-PER-OPERATION\n". An idle second thread keeps the C library and the kernel from
 * taking shortcuts that a multi-threaded program does not have. Build: gcc -O3 -march=native -pthread. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t sink;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static uint64_t *arena(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        exit(2);
    return p;
}

/* Four levels over 4 KiB leaves for `pages` pages at address 0; entries hold byte offsets into the arena. */
static uint64_t *tables;
static size_t tables_used;

static void build(size_t pages)
{
    static size_t built;
    if (built == pages)
        return;
    if (!tables)
        tables = arena(64u << 20);
    memset(tables, 0, tables_used);
    size_t leaves = (pages + 511) / 512, l2 = (leaves + 511) / 512;
    /* root, level 3, level 2 tables, leaf tables */
    tables[0] = 4096 | 3;
    for (size_t i = 0; i < l2; i++)
        tables[512 + i] = ((2 + i) * 4096) | 3;
    for (size_t i = 0; i < leaves; i++)
        tables[(2 + i / 512) * 512 + i % 512] = ((2 + l2 + i) * 4096) | 3;
    for (size_t i = 0; i < pages; i++)
        tables[(2 + l2 + i / 512) * 512 + i % 512] = (0x100000000ull + i * 4096) | 3;
    tables_used = (2 + l2 + leaves) * 4096;
    built = pages;
}

static inline uint64_t walk(const uint64_t *t, uint64_t iova)
{
    for (int shift = 39; shift >= 12; shift -= 9) {
        uint64_t e = t[(iova >> shift) & 511];
        if (!(e & 3))
            return 0;
        if (shift == 12)
            return (e & 0x000ffffffffff000ull) | (iova & 4095);
        t = (const uint64_t *)((const char *)tables + (e & 0x000ffffffffff000ull));
    }
    return 0;
}

/* Not cloned for a size: the compiler would see that the upper levels are the same for every address, and walk them once instead of every time. */
static double __attribute__((noipa)) walks(uint64_t size)
{
    enum { N = 1000000 };
    build(size / 4096);
    uint64_t x = 88172645463325252ull, sum = 0;
    double start = now();
    for (int i = 0; i < N; i++) {
        x ^= x << 13; x ^= x >> 7; x ^= x << 17;
        sum += walk(tables, x & (size - 1));
    }
    double t = (now() - start) / N;
    sink = sum;
    return t;
}

static double random_numbers(void)
{
    enum { N = 200000 };
    uint64_t x = 88172645463325252ull, sum = 0;
    double start = now();
    for (int i = 0; i < N; i++) {
        x ^= x << 13; x ^= x >> 7; x ^= x << 17;
        sum += x & 0x1fffff;
    }
    double t = (now() - start) / N;
    sink = sum;
    return t;
}

struct tlb { uint64_t tag, value; };

static double iotlb(void)
{
    enum { N = 200000 };
    static struct tlb *tlb;
    if (!tlb)
        tlb = aligned_alloc(64, 4096 * sizeof(*tlb));
    for (uint64_t i = 0; i < 4096; i++)
        tlb[i] = (struct tlb){ i << 16 | 5, (i << 12) | 3 };
    uint64_t x = 88172645463325252ull, sum = 0;
    double start = now();
    for (int i = 0; i < N; i++) {
        x ^= x << 13; x ^= x >> 7; x ^= x << 17;
        uint64_t iova = x & 0x1fffff, page = iova >> 12;
        const struct tlb *e = &tlb[page & 4095];
        if (e->tag == (page << 16 | 5) && (e->value & 1))
            sum += (e->value & ~4095ull) | (iova & 4095);
    }
    double t = (now() - start) / N;
    sink = sum;
    return t;
}

static double fill(void)
{
    enum { PAGES = 262144 };
    static uint64_t *leaf;
    if (!leaf)
        leaf = arena(PAGES * 8);
    double start = now();
    for (uint64_t i = 0; i < PAGES; i++)
        leaf[i] = (0x100000000ull + i * 4096) | 3;
    double t = (now() - start) / PAGES;
    sink = leaf[PAGES / 2];
    return t;
}

static double copy(size_t bytes)
{
    static char *a, *b;
    if (!a) {
        a = (char *)arena(4 << 20);
        b = (char *)arena(4 << 20);
        memset(a, 1, 4 << 20);
        memset(b, 1, 4 << 20);
    }
    int n = bytes <= 4096 ? 20000 : 500;
    double start = now();
    for (int i = 0; i < n; i++) {
        memcpy(a, b, bytes);
        __asm__ volatile("" : : "r"(a), "r"(b) : "memory");
    }
    return (now() - start) / n;
}

/* A model and a driver of a disk, with the least that the work is: write 32 submission entries, then for each: fetch the entry through the IOTLB, translate PRP1,
 * copy 4 KiB, write the completion entry, and take it. 1 MiB of disk, 128 KiB of buffers. */
struct command { uint8_t opcode, flags; uint16_t id; uint32_t nsid, reserved[4]; uint64_t prp1, prp2; uint32_t dw[6]; };
struct completion { uint32_t result, reserved; uint16_t head, sq, id, status; };

static inline char *reach(const struct tlb *tlb, char *memory, uint64_t iova)
{
    uint64_t page = iova >> 12;
    const struct tlb *e = &tlb[page & 4095];
    return e->tag == (page << 16 | 5) && (e->value & 1) ? memory + ((e->value & ~4095ull) | (iova & 4095)) : NULL;
}

enum { SQ = 0x100000, CQ = 0x101000 };
static char *disk;

/* A queue pair with the memory that it reads to, and the cache in front of that. */
struct queue { char *memory; struct tlb *tlb; uint16_t phase; };

static void prepare(struct queue *queue)
{
    if (queue->memory)
        return;
    queue->memory = (char *)arena(4 << 20);
    memset(queue->memory, 1, 4 << 20);
    queue->tlb = aligned_alloc(64, 4096 * sizeof(*queue->tlb));
    for (uint64_t i = 0; i < 4096; i++)
        queue->tlb[i] = (struct tlb){ i << 16 | 5, (i << 12) | 3 };
    memset(queue->memory + CQ, 0, 4096);
    queue->phase = 1;
    if (!disk) {
        disk = (char *)arena(1 << 20);
        memset(disk, 2, 1 << 20);
    }
}

static double __attribute__((noipa)) reads(struct queue *queue, uint32_t n, uint32_t depth)
{
    char *memory = queue->memory;
    const struct tlb *tlb = queue->tlb;
    uint16_t phase = queue->phase;
    uint64_t x = 88172645463325252ull, sum = 0;
    double start = now();
    for (uint32_t done = 0; done < n; done += depth) {
        for (uint32_t i = 0; i < depth; i++) {
            x ^= x << 13; x ^= x >> 7; x ^= x << 17;
            struct command *c = (struct command *)(memory + SQ) + i;
            memset(c, 0, sizeof(*c));
            c->opcode = 2;
            c->id = i;
            c->nsid = 1;
            c->prp1 = i * 4096;
            c->dw[0] = x % 256 * 8;
            c->dw[2] = 7;
        }
        __asm__ volatile("" : : : "memory");
        for (uint32_t i = 0; i < depth; i++) {
            struct command c;
            char *from = reach(tlb, memory, SQ + i * sizeof(c));
            if (!from)
                return -1;
            memcpy(&c, from, sizeof(c));
            char *to = reach(tlb, memory, c.prp1);
            if (!to || c.opcode != 2)
                return -1;
            memcpy(to, disk + (uint64_t)c.dw[0] * 512, (c.dw[2] + 1) * 512);
            struct completion e = { 0, 0, i, 1, c.id, phase };
            memcpy(reach(tlb, memory, CQ + i * sizeof(e)), &e, sizeof(e));
        }
        for (uint32_t i = 0; i < depth; i++) {
            volatile struct completion *e = (volatile struct completion *)(memory + CQ) + i;
            while (e->status != phase)
                ;
            sum += e->id;
        }
        phase ^= 1;
    }
    double t = (now() - start) / n;
    queue->phase = phase;
    sink = sum;
    return t;
}

static double nvme(void)
{
    static struct queue queue;
    prepare(&queue);
    return reads(&queue, 2048, 32);
}

/* By what factor two threads with a queue each read more than one: what the machine gives to threads that share the disk's bytes and nothing else. */
static int volatile going;

static void *other_reads(void *queue)
{
    going = 1;
    reads(queue, 131072, 32);
    return NULL;
}

static double nvme_threads(void)
{
    static struct queue queues[2];
    pthread_t other;
    prepare(&queues[0]);
    prepare(&queues[1]);
    double one = reads(&queues[0], 131072, 32);
    going = 0;
    if (pthread_create(&other, NULL, other_reads, &queues[1]))
        exit(2);
    while (!going)
        ;
    double start = now();
    reads(&queues[0], 131072, 32);
    pthread_join(other, NULL);
    double both = (now() - start) / (2 * 131072), again = reads(&queues[0], 131072, 32);
    return (again < one ? again : one) / both;
}

/* By what factor a search among 10,000,000 areas is slower than among 1000: a binary search over nodes of 72 bytes, which is what a balanced tree touches. */
struct node { uint64_t first, last, rest[7]; };

static double __attribute__((noipa)) search(const struct node *nodes, uint64_t count)
{
    enum { N = 20000 };
    uint64_t x = 88172645463325252ull, sum = 0;
    double start = now();
    for (int i = 0; i < N; i++) {
        x ^= x << 13; x ^= x >> 7; x ^= x << 17;
        uint64_t low = 0, high = count, key = x % count * 2;
        while (low < high) {
            uint64_t middle = (low + high) / 2;
            if (nodes[middle].last < key)
                low = middle + 1;
            else
                high = middle;
        }
        sum += nodes[low].first;
    }
    double t = (now() - start) / N;
    sink = sum;
    return t;
}

static double growth(void)
{
    static struct node *nodes;
    static double few = 1e9;
    if (!nodes) {
        nodes = (struct node *)arena(10000000 * sizeof(*nodes));
        for (uint64_t i = 0; i < 10000000; i++)
            nodes[i] = (struct node){ 2 * i, 2 * i, { 0 } };
    }
    for (int i = 0; i < 3; i++) {
        double t = search(nodes, 1000);
        few = t < few ? t : few;
    }
    return search(nodes, 10000000) / few;
}

/* The loads of a translation, each of which needs the one before, over tables as VT-d has them: what they cost where they are in no cache.
 * Legacy mode: root entry, context entry, top table, with a table for each of 10,000 devices. */
static double __attribute__((noipa)) devices(void)
{
    enum { DEVICES = 10000, N = 2000 };
    static uint64_t *memory;
    static uint32_t next;
    if (!memory) {
        memory = arena((1 + DEVICES / 256 + 1 + DEVICES) * 4096ull);
        for (uint64_t i = 0, used = 512; i < DEVICES; i++) {
            if (i % 256 == 0) {
                memory[i / 256 * 2] = used;
                used += 512;
            }
            memory[used] = i << 30;
            memory[memory[i / 256 * 2] + i % 256 * 2] = used;
            memory[memory[i / 256 * 2] + i % 256 * 2 + 1] = i;
            used += 512;
        }
    }
    uint64_t sum = 0;
    double start = now();
    for (int i = 0; i < N; i++) {
        next = (next + 7919) % DEVICES;
        uint64_t *context = memory + memory[next / 256 * 2] + next % 256 * 2;
        sum += memory[context[0]] + context[1];
        next += sum >> 63;
    }
    double t = (now() - start) / N;
    sink = sum;
    return t;
}

/* Scalable mode: directory entry and PASID entry for each of 2^20 PASIDs, and one table of four levels, in the caches. */
static double __attribute__((noipa)) pasids(void)
{
    enum { PASIDS = 1 << 20, N = 2000 };
    static uint64_t *memory;
    static uint32_t next;
    build(512);
    if (!memory) {
        memory = arena((PASIDS / 64 + PASIDS * 8) * 8ull);
        for (uint64_t i = 0; i < PASIDS / 64; i++)
            memory[i] = PASIDS / 64 + i * 512;
        for (uint64_t i = 0; i < PASIDS; i++)
            memory[PASIDS / 64 + i * 8 + 1] = 5;
    }
    uint64_t sum = 0;
    double start = now();
    for (int i = 0; i < N; i++) {
        next = (next + 7919) % PASIDS;
        const uint64_t *entry = memory + memory[next / 64] + next % 64 * 8;
        uint64_t table = entry[0] | entry[2] | entry[4] | entry[5] | entry[6] | entry[7];
        sum += walk(tables + table, 0x1234) + entry[1];
        next += sum >> 63;
    }
    double t = (now() - start) / N;
    sink = sum;
    return t;
}

/* A call that succeeds, through a wrapper that keeps the error number. */
static double ioctls(void)
{
    enum { N = 20000 };
    static int fd = -1;
    if (fd < 0 && (fd = memfd_create("benchmark", 0)) < 0)
        exit(2);
    uint64_t sum = 0;
    double start = now();
    for (int i = 0; i < N; i++) {
        int size = 0;
        sum += ioctl(fd, FIONREAD, &size) < 0 ? -errno : size;
    }
    double t = (now() - start) / N;
    sink = sum;
    return t;
}

static void *idle(void *unused)
{
    for (;;)
        pause();
    return unused;
}

int main(void)
{
    pthread_t thread;
    char name[64];
    pthread_create(&thread, NULL, idle, NULL);
    while (fgets(name, sizeof(name), stdin)) {
        name[strcspn(name, "\n")] = 0;
        double t = !strcmp(name, "random") ? random_numbers()
            : !strcmp(name, "walk-2M") ? walks(2u << 20)
            : !strcmp(name, "walk-1G") ? walks(1u << 30)
            : !strcmp(name, "iotlb") ? iotlb()
            : !strcmp(name, "fill-4K") ? fill()
            : !strcmp(name, "ioctl") ? ioctls()
            : !strcmp(name, "search") ? growth()
            : !strcmp(name, "devices") ? devices()
            : !strcmp(name, "pasids") ? pasids()
            : !strcmp(name, "nvme") ? nvme()
            : !strcmp(name, "nvme-threads") ? nvme_threads()
            : !strcmp(name, "copy-64") ? copy(64)
            : !strcmp(name, "copy-4K") ? copy(4096)
            : !strcmp(name, "copy-64K") ? copy(65536)
            : !strcmp(name, "copy-2M") ? copy(2 << 20) : -1;
        printf("%.4f\n", t);
        fflush(stdout);
    }
    return 0;
}
