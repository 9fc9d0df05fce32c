/* On the real kernel with bare system calls: map and unmap with a device attached.
 * Usage: kernel CDEV (such as /dev/vfio/devices/vfio1). Reads "CASE\n", answers "NANOSECONDS-PER-OPERATION\n". Build: gcc -O3 -static -pthread -Itests/uapi. */
#define _GNU_SOURCE
#include <fcntl.h>
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

static const char *cdev;
static int iommu = -1, device = -1;
static uint32_t ioas;
static char *memory;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(2);
    }
}

static void attach(void)
{
    must(iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC), "/dev/iommu");
    must(device = open(cdev, O_RDWR | O_CLOEXEC), cdev);
    struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommu };
    must(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind), "bind");
    struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
    must(ioctl(iommu, IOMMU_IOAS_ALLOC, &alloc), "alloc");
    ioas = alloc.out_ioas_id;
    struct vfio_device_attach_iommufd_pt to = { .argsz = sizeof(to), .pt_id = ioas };
    must(ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &to), "attach");
}

static uint64_t map(uint64_t bytes)
{
    struct iommu_ioas_map map = {
        .size = sizeof(map), .flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE, .ioas_id = ioas, .user_va = (uintptr_t)memory, .length = bytes };
    must(ioctl(iommu, IOMMU_IOAS_MAP, &map), "map");
    return map.iova;
}

static void unmap(uint64_t iova, uint64_t bytes)
{
    struct iommu_ioas_unmap unmap = { .size = sizeof(unmap), .ioas_id = ioas, .iova = iova, .length = bytes };
    must(ioctl(iommu, IOMMU_IOAS_UNMAP, &unmap), "unmap");
}

static void reserve(uint64_t bytes)
{
    static uint64_t reserved;
    if (bytes <= reserved)
        return;
    if (memory)
        munmap(memory, reserved);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        must(-1, "mmap");
    madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes);
    reserved = bytes;
}

static double maps(uint64_t bytes, int n)
{
    reserve(bytes);
    if (device < 0)
        attach();
    double start = now();
    for (int i = 0; i < n; i++)
        unmap(map(bytes), bytes);
    return (now() - start) / n;
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
    if (argc != 2) {
        fprintf(stderr, "usage: kernel CDEV\n");
        return 2;
    }
    cdev = argv[1];
    pthread_create(&thread, NULL, idle, NULL);
    while (fgets(name, sizeof(name), stdin)) {
        name[strcspn(name, "\n")] = 0;
        double t = !strcmp(name, "map-4K") ? maps(4096, 300)
            : !strcmp(name, "map-2M") ? maps(2 << 20, 10)
            : !strcmp(name, "map-1G") ? maps(1u << 30, 1) : -1;
        printf("%.4f\n", t);
        fflush(stdout);
    }
    return 0;
}
