/*
 * A program that outlives the simulator, which it kills. Writes to FILE, a line each, what the calls on a descriptor that it kept answer, then "end".
 *   outlive FILE
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static FILE *out;

static void say(const char *call, long result)
{
    fprintf(out, "%s: %s\n", call, result < 0 ? strerrorname_np(errno) : "ok");
    fflush(out);
}

int main(int argc, char **argv)
{
    uint32_t alloc[3] = { sizeof(alloc) };
    char byte = 0;
    int iommu = open("/dev/iommu", O_RDWR);
    pid_t simulator = getppid();

    out = argc == 2 ? fopen(argv[1], "w") : NULL;
    if (!out || iommu < 0)
        return 2;

    say("ioctl before", ioctl(iommu, 0x3b81, alloc));
    kill(simulator, SIGKILL);
    while (kill(simulator, 0) == 0)
        usleep(10000);

    struct pollfd poll_one = { iommu, POLLIN, 0 };
    say("ioctl", ioctl(iommu, 0x3b81, alloc));
    say("read", read(iommu, &byte, 1));
    say("write", write(iommu, &byte, 1));
    say("pread", pread(iommu, &byte, 1, 0));
    say("mmap", mmap(NULL, 4096, PROT_READ, MAP_SHARED, iommu, 0) == MAP_FAILED ? -1 : 0);
    say("dup", dup(iommu));
    say("open", open("/dev/iommu", O_RDWR));
    say("poll", poll(&poll_one, 1, 10000));
    say("close", close(iommu));
    say("end", 0);
    return 0;
}
