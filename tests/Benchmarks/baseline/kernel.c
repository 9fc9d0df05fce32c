/* The real kernel with bare system calls, as a program without a library makes them. Map and unmap with a device attached; and the flows of the proposal, section 4,
 * on mainline, each from opening to closing, some in a row: 4.1 to 4.3 on two devices of VFIO, 4.4 to 4.6 on a mock device of the kernel (IOMMU_TEST_CMD), the only
 * one at hand that nests, has PASIDs and asks for pages.
 * Usage: kernel CDEV CDEV MIB (such as /dev/vfio/devices/vfio1; memory of the flows' guest). Reads "map-4K\n" or "flow-4.1\n", answers "NANOSECONDS\n"; maps are on
 * the second device. Build: gcc -O3 -static -pthread -Itests/uapi. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>

enum { PAGE = 4096, LARGE = 2 << 20 };

/* IOMMU_TEST_CMD: the operations used here. All of them take 32-bit words; one takes an address at the end. */
enum { TEST_CMD = 0x3ba0, MOCK_DOMAIN_REPLACE = 10, MOCK_DOMAIN_FLAGS = 12, TRIGGER_IOPF = 15, PASID_ATTACH = 18, PASID_DETACH = 20 };
enum { MOCK_HAS_PASIDS = 4, MOCK_BASE = 1 << 24, MOCK_TABLE = 0xdead, MOCK_IOTLB = 0xbadbeef };
#define MOCK_INVALIDATE 0xdeadbeef

struct test_cmd {
    uint32_t size, op, id, reserved, words[4];
    uint64_t address, rest[3];
    uint32_t last;
};

struct device {
    int fd;
    uint32_t id, mock, empty; /* mock and empty: a mock device, and what it is on when it is detached */
};

static const char *cdevs[2];
static int iommu;
static char *ram;
static uint64_t ram_bytes;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(2);
    }
    return result;
}

#define CALL(fd, request, ...) must(ioctl(fd, request, __VA_ARGS__), #request)

static uint32_t ioas_alloc(void)
{
    struct iommu_ioas_alloc a = { .size = sizeof(a) };
    CALL(iommu, IOMMU_IOAS_ALLOC, &a);
    return a.out_ioas_id;
}

static void destroy(uint32_t id)
{
    struct iommu_destroy a = { .size = sizeof(a), .id = id };
    CALL(iommu, IOMMU_DESTROY, &a);
}

static uint64_t map(uint32_t ioas, uint32_t flags, uint64_t iova, uint64_t offset, uint64_t length)
{
    struct iommu_ioas_map a = {
        .size = sizeof(a), .flags = flags | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
        .ioas_id = ioas, .user_va = (uintptr_t)ram + offset, .length = length, .iova = iova };
    CALL(iommu, IOMMU_IOAS_MAP, &a);
    return a.iova;
}

static void map_at(uint32_t ioas, uint64_t iova, uint64_t offset, uint64_t length)
{
    map(ioas, IOMMU_IOAS_MAP_FIXED_IOVA, iova, offset, length);
}

static void copy(uint32_t to, uint64_t iova, uint32_t from, uint64_t source)
{
    struct iommu_ioas_copy a = {
        .size = sizeof(a), .flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
        .dst_ioas_id = to, .src_ioas_id = from, .length = PAGE, .dst_iova = iova, .src_iova = source };
    CALL(iommu, IOMMU_IOAS_COPY, &a);
}

static void unmap(uint32_t ioas, uint64_t iova, uint64_t length)
{
    struct iommu_ioas_unmap a = { .size = sizeof(a), .ioas_id = ioas, .iova = iova, .length = length };
    CALL(iommu, IOMMU_IOAS_UNMAP, &a);
}

static struct device bind_cdev(const char *path)
{
    struct device d = { .fd = must(open(path, O_RDWR | O_CLOEXEC), path) };
    struct vfio_device_bind_iommufd a = { .argsz = sizeof(a), .iommufd = iommu };
    CALL(d.fd, VFIO_DEVICE_BIND_IOMMUFD, &a);
    d.id = a.out_devid;
    return d;
}

static void test(struct test_cmd *cmd)
{
    cmd->size = sizeof(*cmd);
    CALL(iommu, TEST_CMD, cmd);
}

static struct device bind_mock(void)
{
    struct device d = { .fd = -1, .empty = ioas_alloc() };
    struct test_cmd cmd = { .op = MOCK_DOMAIN_FLAGS, .id = d.empty, .words = { [3] = MOCK_HAS_PASIDS } };
    test(&cmd);
    d.mock = cmd.words[0];
    d.id = cmd.words[2];
    return d;
}

static void attach(struct device *d, uint32_t pt)
{
    if (d->fd < 0) {
        struct test_cmd cmd = { .op = MOCK_DOMAIN_REPLACE, .id = d->mock, .words = { pt } };
        test(&cmd);
        return;
    }
    struct vfio_device_attach_iommufd_pt a = { .argsz = sizeof(a), .pt_id = pt };
    CALL(d->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a);
}

static void detach(struct device *d)
{
    if (d->fd < 0) {
        attach(d, d->empty);
        return;
    }
    struct vfio_device_detach_iommufd_pt a = { .argsz = sizeof(a) };
    CALL(d->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &a);
}

static void attach_pasid(struct device *d, uint32_t pasid, uint32_t pt)
{
    struct test_cmd cmd = { .op = PASID_ATTACH, .id = d->mock, .words = { pasid, pt } };
    test(&cmd);
}

static void detach_pasid(struct device *d, uint32_t pasid)
{
    struct test_cmd cmd = { .op = PASID_DETACH, .id = d->mock, .words = { pasid } };
    test(&cmd);
}

static void unbind(struct device *d)
{
    if (d->fd < 0) {
        destroy(d->mock);
        destroy(d->empty);
    } else {
        close(d->fd);
    }
}

static uint32_t hwpt(struct device *d, uint32_t parent, uint32_t flags)
{
    struct iommu_hwpt_alloc a = { .size = sizeof(a), .flags = flags, .dev_id = d->id, .pt_id = parent };
    CALL(iommu, IOMMU_HWPT_ALLOC, &a);
    return a.out_hwpt_id;
}

/* A table of the user on the parent's; fault is a queue for its page requests, or 0. */
static uint32_t nested(struct device *d, uint32_t parent, uint32_t fault)
{
    uint32_t data[2] = { MOCK_IOTLB, 0 };
    struct iommu_hwpt_alloc a = {
        .size = sizeof(a), .flags = IOMMU_HWPT_ALLOC_PASID | (fault ? IOMMU_HWPT_FAULT_ID_VALID : 0), .dev_id = d->id, .pt_id = parent,
        .data_type = MOCK_TABLE, .data_len = sizeof(data), .data_uptr = (uintptr_t)data, .fault_id = fault };
    CALL(iommu, IOMMU_HWPT_ALLOC, &a);
    return a.out_hwpt_id;
}

static void invalidate(uint32_t table)
{
    uint32_t entry[2] = { 1, 0 }; /* all */
    struct iommu_hwpt_invalidate a = {
        .size = sizeof(a), .hwpt_id = table, .data_uptr = (uintptr_t)entry, .data_type = MOCK_INVALIDATE, .entry_len = sizeof(entry), .entry_num = 1 };
    CALL(iommu, IOMMU_HWPT_INVALIDATE, &a);
}

static void two_devices(int flow)
{
    struct device dev1 = bind_cdev(cdevs[0]);
    uint32_t gpa = ioas_alloc();
    attach(&dev1, gpa);
    map_at(gpa, 0, 0, ram_bytes);
    struct device dev2 = bind_cdev(cdevs[1]);
    attach(&dev2, gpa);
    if (flow == 1) {
        detach(&dev2);
    } else if (flow == 2) {
        detach(&dev2);
        uint32_t giova = ioas_alloc();
        attach(&dev2, giova);
        map_at(giova, 0x2000, 0x1000, PAGE);
        map_at(giova, 0x5000, 0x5000, PAGE);
        unmap(giova, 0x5000, PAGE);
        unmap(giova, 0x2000, PAGE);
        detach(&dev2);
        destroy(giova);
    } else {
        uint32_t giova = ioas_alloc();
        attach(&dev2, giova);
        copy(giova, 0x2000, gpa, 0x1000);
        copy(giova, 0x3000, gpa, 0x5000);
        unmap(giova, 0x3000, PAGE);
        unmap(giova, 0x2000, PAGE);
        attach(&dev2, gpa);
        destroy(giova);
        detach(&dev2);
    }
    unbind(&dev2);
    unmap(gpa, 0, ram_bytes);
    detach(&dev1);
    destroy(gpa);
    unbind(&dev1);
}

/* The page request of a process that nobody has the page for: asked, read, refused. */
static void page_request(struct device *d, int fault)
{
    struct iommu_hwpt_pgfault request;
    struct pollfd ready = { .fd = fault, .events = POLLIN };
    struct test_cmd cmd = { .op = TRIGGER_IOPF, .words = { d->id, 5, 7, 3 }, .address = 0x7f0000002000 };
    test(&cmd);
    must(poll(&ready, 1, 5000) - 1, "poll");
    must(read(fault, &request, sizeof(request)) - (int)sizeof(request), "read");
    struct iommu_hwpt_page_response answer = { .cookie = request.cookie, .code = IOMMUFD_PAGE_RESP_INVALID };
    must(write(fault, &answer, sizeof(answer)) - (int)sizeof(answer), "write");
}

static void user_tables(int flow)
{
    struct device d = bind_mock();
    uint32_t gpa = ioas_alloc(), kernels = hwpt(&d, gpa, IOMMU_HWPT_ALLOC_PASID);
    attach(&d, kernels);
    map_at(gpa, MOCK_BASE, 0, ram_bytes);
    struct iommu_fault_alloc fault = { .size = sizeof(fault) };
    if (flow == 6)
        CALL(iommu, IOMMU_FAULT_QUEUE_ALLOC, &fault);
    uint32_t parent = hwpt(&d, gpa, IOMMU_HWPT_ALLOC_NEST_PARENT), table = nested(&d, parent, fault.out_fault_id);
    if (flow == 4) {
        attach(&d, table);
        invalidate(table);
        attach(&d, kernels);
    } else {
        attach_pasid(&d, 5, table);
        if (flow == 5) {
            uint32_t other = nested(&d, parent, 0);
            attach_pasid(&d, 6, other);
            invalidate(table);
            detach_pasid(&d, 6);
            destroy(other);
        } else {
            page_request(&d, fault.out_fault_fd);
        }
        detach_pasid(&d, 5);
    }
    destroy(table);
    if (flow == 6) {
        close(fault.out_fault_fd);
        destroy(fault.out_fault_id);
    }
    unmap(gpa, MOCK_BASE, ram_bytes);
    detach(&d);
    destroy(kernels);
    destroy(parent);
    destroy(gpa);
    unbind(&d);
}

static void open_iommu(void)
{
    iommu = must(open("/dev/iommu", O_RDWR | O_CLOEXEC), "/dev/iommu");
}

static double flows(int number, int n)
{
    double start = now();
    for (int i = 0; i < n; i++) {
        open_iommu();
        if (number <= 3)
            two_devices(number);
        else
            user_tables(number);
        close(iommu);
    }
    return (now() - start) / n;
}

/* The device stays attached from the first of these on. */
static double maps(uint64_t bytes, int n)
{
    static uint32_t ioas;
    if (!ioas) {
        open_iommu();
        struct device d = bind_cdev(cdevs[1]);
        attach(&d, ioas = ioas_alloc());
    }
    double start = now();
    for (int i = 0; i < n; i++)
        unmap(ioas, map(ioas, 0, 0, 0, bytes), bytes);
    return (now() - start) / n;
}

static void reserve(uint64_t bytes)
{
    static uint64_t reserved;
    if (bytes <= reserved)
        return;
    ram = mmap(NULL, bytes + LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED)
        must(-1, "mmap");
    ram = (char *)(((uintptr_t)ram + LARGE - 1) & -(uintptr_t)LARGE);
    madvise(ram, bytes, MADV_HUGEPAGE);
    memset(ram, 1, bytes);
    reserved = bytes;
}

static void *idle(void *unused)
{
    for (;;)
        pause();
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    char name[64];
    int number;
    if (argc != 4) {
        fprintf(stderr, "usage: kernel CDEV CDEV MIB\n");
        return 2;
    }
    memcpy(cdevs, argv + 1, sizeof(cdevs));
    ram_bytes = strtoull(argv[3], NULL, 10) << 20;
    pthread_create(&thread, NULL, idle, NULL);
    while (fgets(name, sizeof(name), stdin)) {
        name[strcspn(name, "\n")] = 0;
        uint64_t bytes = !strcmp(name, "map-4K") ? PAGE : !strcmp(name, "map-2M") ? LARGE : !strcmp(name, "map-1G") ? 1u << 30 : 0;
        reserve(bytes ? bytes : ram_bytes);
        double t = bytes ? maps(bytes, bytes == PAGE ? 300 : bytes == LARGE ? 10 : 1) : sscanf(name, "flow-4.%d", &number) == 1 ? flows(number, 8) : -1;
        printf("%.0f\n", t);
        fflush(stdout);
    }
    return 0;
}
