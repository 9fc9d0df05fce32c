/* SPDX-License-Identifier: MIT */
/*
 * Flow 4.3 of the /dev/iommu proposal in C: software nesting, with edu's DMA as the judge, and the same with the numbers of September 2021.
 * Build: cc -I tests/uapi/rfc -o flow43 samples/RfcFlows/c/flow43.c
 * Run: vfio sim run --topology rfc -- ./flow43
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "iommu-rfc.h"

#define EDU "0000:00:04.0"
#define PAGE 4096ULL

static void need(int good, const char *what)
{
	if (!good) {
		printf("%s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	need(fd >= 0 && write(fd, text, strlen(text)) > 0, path);
	close(fd);
}

static int map(int iommu, int ioasid, __u64 iova, __u64 vaddr, __u64 size)
{
	struct {
		struct iommu_ioasid_dma_op op;
		struct vfio_iommu_type1_dma_map map;
	} request = {
		.op = { .argsz = sizeof(request), .ioasid = ioasid },
		.map = { .argsz = sizeof(request.map), .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, .vaddr = vaddr, .iova = iova, .size = size },
	};

	return ioctl(iommu, IOMMU_MAP_DMA, &request);
}

static int unmap(int iommu, int ioasid, __u64 iova, __u64 size)
{
	struct {
		struct iommu_ioasid_dma_op op;
		struct vfio_iommu_type1_dma_unmap unmap;
	} request = {
		.op = { .argsz = sizeof(request), .ioasid = ioasid },
		.unmap = { .argsz = sizeof(request.unmap), .iova = iova, .size = size },
	};

	return ioctl(iommu, IOMMU_UNMAP_DMA, &request);
}

static int alloc(int iommu, int parent)
{
	struct iommu_ioasid_alloc_attr request = {
		.argsz = sizeof(request), .flags = IOMMU_IOASID_SNOOP_AUTO, .type = IOMMU_IOASID_TYPE_KERNEL_TYPE1V2, .addr_width = 48, .parent = parent,
	};

	return ioctl(iommu, IOMMU_IOASID_ALLOC, &request);
}

/* edu copies 8 bytes from memory into its buffer and back to another place: what arrives there, or 0 after a fault. */
static __u64 copy(int device, __u64 bar, __u64 from, __u64 to, volatile __u64 *seen)
{
	__u64 registers[][2] = {
		{ 0x80, from }, { 0x88, 0x40000 }, { 0x90, 8 }, { 0x98, 1 },
		{ 0x80, 0x40000 }, { 0x88, to }, { 0x90, 8 }, { 0x98, 3 },
	};

	*seen = 0;
	for (unsigned i = 0; i < sizeof(registers) / sizeof(registers[0]); i++)
		need(pwrite(device, &registers[i][1], 8, bar + registers[i][0]) == 8, "edu");
	return *seen;
}

int main(void)
{
	struct vfio_bind_iommu_fd bind = { .argsz = sizeof(bind), .cookie = 0xed0 };
	struct vfio_attach_ioasid attach = { .argsz = sizeof(attach) };
	struct vfio_device_attach_ioasid september = { .argsz = sizeof(september) };
	struct vfio_region_info region = { .argsz = sizeof(region), .index = VFIO_PCI_BAR0_REGION_INDEX };
	int iommu, device, gpa, giova;
	__u16 command = 6;
	__u64 *memory, bar;

	put("/sys/bus/pci/devices/" EDU "/driver_override", "vfio-pci");
	put("/sys/bus/pci/drivers_probe", EDU);
	iommu = open("/dev/iommu", O_RDWR);
	device = open("/dev/vfio/devices/vfio0", O_RDWR);
	need(iommu >= 0 && device >= 0, "open");
	need(ioctl(iommu, IOMMU_CHECK_EXTENSION, EXT_IOASID_NESTING) == 1, "EXT_IOASID_NESTING");
	need(pread(device, &bar, 8, 0) < 0 && errno == ENODEV, "no access before bind");

	bind.iommu_fd = iommu;
	need(ioctl(device, VFIO_BIND_IOMMU_FD, &bind) == 0, "bind");
	gpa = alloc(iommu, IOMMU_IOASID_NO_PARENT);
	giova = alloc(iommu, gpa);
	need(gpa >= 0 && giova >= 0, "alloc");
	attach.iommu_fd = iommu;
	attach.ioasid = gpa;
	need(ioctl(device, VFIO_ATTACH_IOASID, &attach) == 0, "attach gpa");
	attach.ioasid = giova;
	need(ioctl(device, VFIO_ATTACH_IOASID, &attach) == 0, "attach giova");

	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(memory != MAP_FAILED, "mmap");
	need(map(iommu, gpa, 0x100000, (__u64)memory, 4 * PAGE) == 0, "map gpa");
	need(map(iommu, giova, 0x2000, 0x101000, PAGE) == 0, "map giova");
	need(map(iommu, giova, 0x3000, 0x102000, PAGE) == 0, "map giova");

	need(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region) == 0, "region");
	bar = region.offset;
	region.index = VFIO_PCI_CONFIG_REGION_INDEX;
	need(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region) == 0, "region");
	need(pwrite(device, &command, 2, region.offset + 4) == 2, "bus mastering");

	memory[512] = 0x1122334455667788;
	need(copy(device, bar, 0x2000, 0x3000, &memory[1024]) == 0x1122334455667788, "DMA through the shadow");
	need(unmap(iommu, gpa, 0x100000, 4 * PAGE) == 0, "unmap gpa");
	need(copy(device, bar, 0x2000, 0x3000, &memory[1024]) == 0, "nothing without the parent");

	/* The numbers of September 2021 on the same descriptor. */
	september.iommu_fd = iommu;
	september.ioasid = giova;
	need(ioctl(device, VFIO_DEVICE_DETACH_IOASID, &september) == 0, "detach giova");
	need(map(iommu, gpa, 0, (__u64)memory, 4 * PAGE) == 0, "map gpa");
	need(copy(device, bar, 0x1000, 0x2000, &memory[1024]) == 0x1122334455667788, "DMA through the root");
	printf("flow 4.3: ok\n");
	return 0;
}
