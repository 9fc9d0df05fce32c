/* SPDX-License-Identifier: MIT */
/* The /dev/iommu proposal of 2021 in C. See README.md beside this file for what is fact and what is ours. */
#ifndef IOMMU_RFC_H
#define IOMMU_RFC_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/vfio.h>

/* ---- RFC v2, July 2021: numbers. IOMMU_TYPE and IOMMU_BASE: September 2021. ---- */

#define IOMMU_TYPE (';')
#define IOMMU_BASE 100
#define IOMMU_CHECK_EXTENSION _IO(IOMMU_TYPE, IOMMU_BASE + 0)
#define IOMMU_DEVICE_GET_INFO _IO(IOMMU_TYPE, IOMMU_BASE + 1)
#define IOMMU_IOASID_ALLOC _IO(IOMMU_TYPE, IOMMU_BASE + 2)
#define IOMMU_IOASID_FREE _IO(IOMMU_TYPE, IOMMU_BASE + 3)
#define IOMMU_MAP_DMA _IO(IOMMU_TYPE, IOMMU_BASE + 4)
#define IOMMU_UNMAP_DMA _IO(IOMMU_TYPE, IOMMU_BASE + 5)
#define IOMMU_INVALIDATE_CACHE _IO(IOMMU_TYPE, IOMMU_BASE + 6)
#define IOMMU_IOASID_FAULT_REGION _IO(IOMMU_TYPE, IOMMU_BASE + 7) /* ours */
#define IOMMU_IOASID_FAULT_COMPLETE _IO(IOMMU_TYPE, IOMMU_BASE + 8) /* ours */
#define IOMMU_IOASID_DIRTY _IO(IOMMU_TYPE, IOMMU_BASE + 9) /* ours */
#define VFIO_BIND_IOMMU_FD _IO(VFIO_TYPE, VFIO_BASE + 22)
#define VFIO_ATTACH_IOASID _IO(VFIO_TYPE, VFIO_BASE + 23)
#define VFIO_DETACH_IOASID _IO(VFIO_TYPE, VFIO_BASE + 24)
#define VFIO_DEVICE_INFO_CAP_PASID 5
#define KVMIO 0xAE
#define KVM_CAP_PASID_TRANSLATION 206
#define KVM_MAP_PASID _IO(KVMIO, 0xf0)
#define KVM_UNMAP_PASID _IO(KVMIO, 0xf1)

/* Extensions: 1 and 2 September 2021, the rest ours. */
#define EXT_MAP_TYPE1V2 1
#define EXT_DMA_NO_SNOOP 2
#define EXT_MAP_NEWTYPE 3
#define EXT_IOASID_NESTING 4
#define EXT_USER_PAGE_TABLE 5
#define EXT_USER_PASID_TABLE 6
#define EXT_MULTIDEV_GROUP 7
#define EXT_DIRTY_TRACKING 8
#define EXT_IOASID_FAULT 9

/* ---- First implementation, September 2021. It numbers binding from VFIO_BASE + 19, where Linux 6.6 has ATTACH. ---- */

#undef VFIO_DEVICE_BIND_IOMMUFD
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 19)
#define VFIO_DEVICE_ATTACH_IOASID _IO(VFIO_TYPE, VFIO_BASE + 20)
#define VFIO_DEVICE_DETACH_IOASID _IO(VFIO_TYPE, VFIO_BASE + 21)

#define IOMMU_DEVICE_INFO_ENFORCE_SNOOP (1 << 0)
#define IOMMU_DEVICE_INFO_PGSIZES (1 << 1)
#define IOMMU_DEVICE_INFO_ADDR_WIDTH (1 << 2)
#define IOMMU_DEVICE_INFO_CAPS (1 << 3)
struct iommu_device_info {
	__u32 argsz, flags;
	__u64 dev_cookie, pgsize_bitmap;
	__u32 addr_width, cap_offset;
};

#define IOMMU_IOASID_ENFORCE_SNOOP (1 << 0)
#define IOMMU_IOASID_TYPE_KERNEL_TYPE1V2 1
struct iommu_ioasid_alloc {
	__u32 argsz, flags, type, addr_width;
};

struct iommu_ioasid_dma_op {
	__u32 argsz, flags;
	__s32 ioasid;
	__u32 padding;
	__u8 data[];
};

struct vfio_device_iommu_bind_data {
	__u32 argsz, flags;
	__s32 iommu_fd;
	__u64 dev_cookie;
};

struct vfio_device_attach_ioasid {
	__u32 argsz, flags;
	__s32 iommu_fd, ioasid;
};

_Static_assert(sizeof(struct iommu_device_info) == 32 && __builtin_offsetof(struct iommu_device_info, cap_offset) == 28, "");
_Static_assert(sizeof(struct iommu_ioasid_alloc) == 16 && __builtin_offsetof(struct iommu_ioasid_alloc, addr_width) == 12, "");
_Static_assert(sizeof(struct iommu_ioasid_dma_op) == 16 && __builtin_offsetof(struct iommu_ioasid_dma_op, data) == 16, "");
_Static_assert(sizeof(struct vfio_device_iommu_bind_data) == 24 && __builtin_offsetof(struct vfio_device_iommu_bind_data, dev_cookie) == 16, "");
_Static_assert(sizeof(struct vfio_device_attach_ioasid) == 16 && __builtin_offsetof(struct vfio_device_attach_ioasid, ioasid) == 12, "");

/* ---- linux/iommu.h of Linux 5.14: faults, invalidation, PASID binding ---- */

#define IOMMU_FAULT_PERM_READ (1 << 0)
#define IOMMU_FAULT_PERM_WRITE (1 << 1)
#define IOMMU_FAULT_PERM_EXEC (1 << 2)
#define IOMMU_FAULT_PERM_PRIV (1 << 3)
enum iommu_fault_type { IOMMU_FAULT_DMA_UNRECOV = 1, IOMMU_FAULT_PAGE_REQ };
enum iommu_fault_reason {
	IOMMU_FAULT_REASON_UNKNOWN,
	IOMMU_FAULT_REASON_PASID_FETCH,
	IOMMU_FAULT_REASON_BAD_PASID_ENTRY,
	IOMMU_FAULT_REASON_PASID_INVALID,
	IOMMU_FAULT_REASON_WALK_EABT,
	IOMMU_FAULT_REASON_PTE_FETCH,
	IOMMU_FAULT_REASON_PERMISSION,
	IOMMU_FAULT_REASON_ACCESS,
	IOMMU_FAULT_REASON_OOR_ADDRESS,
};
#define IOMMU_FAULT_UNRECOV_PASID_VALID (1 << 0)
#define IOMMU_FAULT_UNRECOV_ADDR_VALID (1 << 1)
#define IOMMU_FAULT_UNRECOV_FETCH_ADDR_VALID (1 << 2)
struct iommu_fault_unrecoverable {
	__u32 reason, flags, pasid, perm;
	__u64 addr, fetch_addr;
};
#define IOMMU_FAULT_PAGE_REQUEST_PASID_VALID (1 << 0)
#define IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE (1 << 1)
#define IOMMU_FAULT_PAGE_REQUEST_PRIV_DATA (1 << 2)
#define IOMMU_FAULT_PAGE_RESPONSE_NEEDS_PASID (1 << 3)
struct iommu_fault_page_request {
	__u32 flags, pasid, grpid, perm;
	__u64 addr, private_data[2];
};
struct iommu_fault {
	__u32 type, padding;
	union {
		struct iommu_fault_unrecoverable event;
		struct iommu_fault_page_request prm;
		__u8 padding2[56];
	};
};
enum iommu_page_response_code { IOMMU_PAGE_RESP_SUCCESS, IOMMU_PAGE_RESP_INVALID, IOMMU_PAGE_RESP_FAILURE };
#define IOMMU_PAGE_RESP_VERSION_1 1
#define IOMMU_PAGE_RESP_PASID_VALID (1 << 0)
struct iommu_page_response {
	__u32 argsz, version, flags, pasid, grpid, code;
};
enum iommu_inv_granularity { IOMMU_INV_GRANU_DOMAIN, IOMMU_INV_GRANU_PASID, IOMMU_INV_GRANU_ADDR, IOMMU_INV_GRANU_NR };
#define IOMMU_INV_ADDR_FLAGS_PASID (1 << 0)
#define IOMMU_INV_ADDR_FLAGS_ARCHID (1 << 1)
#define IOMMU_INV_ADDR_FLAGS_LEAF (1 << 2)
struct iommu_inv_addr_info {
	__u32 flags, archid;
	__u64 pasid, addr, granule_size, nb_granules;
};
#define IOMMU_INV_PASID_FLAGS_PASID (1 << 0)
#define IOMMU_INV_PASID_FLAGS_ARCHID (1 << 1)
struct iommu_inv_pasid_info {
	__u32 flags, archid;
	__u64 pasid;
};
#define IOMMU_CACHE_INVALIDATE_INFO_VERSION_1 1
#define IOMMU_CACHE_INV_TYPE_IOTLB (1 << 0)
#define IOMMU_CACHE_INV_TYPE_DEV_IOTLB (1 << 1)
#define IOMMU_CACHE_INV_TYPE_PASID (1 << 2)
#define IOMMU_CACHE_INV_TYPE_NR 3
struct iommu_cache_invalidate_info {
	__u32 argsz, version;
	__u8 cache, granularity, padding[6];
	union {
		struct iommu_inv_pasid_info pasid_info;
		struct iommu_inv_addr_info addr_info;
	} granu;
};
#define IOMMU_SVA_VTD_GPASID_SRE (1 << 0)
#define IOMMU_SVA_VTD_GPASID_EAFE (1 << 1)
#define IOMMU_SVA_VTD_GPASID_PCD (1 << 2)
#define IOMMU_SVA_VTD_GPASID_PWT (1 << 3)
#define IOMMU_SVA_VTD_GPASID_EMTE (1 << 4)
#define IOMMU_SVA_VTD_GPASID_CD (1 << 5)
#define IOMMU_SVA_VTD_GPASID_WPE (1 << 6)
#define IOMMU_SVA_VTD_GPASID_LAST (1 << 7)
#define IOMMU_SVA_VTD_GPASID_MTS_MASK 0x3c
struct iommu_gpasid_bind_data_vtd {
	__u64 flags;
	__u32 pat, emt;
};
#define IOMMU_GPASID_BIND_VERSION_1 1
#define IOMMU_PASID_FORMAT_INTEL_VTD 1
#define IOMMU_PASID_FORMAT_LAST 2
#define IOMMU_SVA_GPASID_VAL (1 << 0)
struct iommu_gpasid_bind_data {
	__u32 argsz, version, format, addr_width;
	__u64 flags, gpgd, hpasid, gpasid;
	__u8 padding[8];
	union {
		struct iommu_gpasid_bind_data_vtd vtd;
	} vendor;
};

_Static_assert(sizeof(struct iommu_cache_invalidate_info) == 56 && __builtin_offsetof(struct iommu_cache_invalidate_info, granu) == 16, "");
_Static_assert(sizeof(struct iommu_inv_addr_info) == 40 && sizeof(struct iommu_inv_pasid_info) == 16, "");
_Static_assert(sizeof(struct iommu_fault) == 64 && sizeof(struct iommu_fault_page_request) == 40, "");
_Static_assert(sizeof(struct iommu_page_response) == 24 && sizeof(struct iommu_gpasid_bind_data) == 72, "");

/* ---- Ours: what the RFC left open. argsz first, 8-byte aligned, no holes. ---- */

#define IOMMU_DEVICE_INFO_CAP_IOVA_RANGE VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE
#define IOMMU_DEVICE_INFO_CAP_NESTING 0x100
#define IOMMU_DEVICE_INFO_CAP_USER_PGTABLE 0x101
#define IOMMU_DEVICE_INFO_CAP_USER_PASID_TABLE 0x102
#define IOMMU_DEVICE_INFO_CAP_DIRTY 0x103
#define IOMMU_DEVICE_INFO_NESTING_HW (1 << 0)
#define IOMMU_DEVICE_INFO_NESTING_SW (1 << 1)
struct iommu_device_info_cap_nesting {
	struct vfio_info_cap_header header;
	__u32 flags, max_depth;
};
struct iommu_device_info_format {
	__u32 format, addr_width;
};
struct iommu_device_info_cap_formats {
	struct vfio_info_cap_header header;
	__u32 nr_formats, __reserved;
	struct iommu_device_info_format formats[];
};
struct iommu_device_info_cap_dirty {
	struct vfio_info_cap_header header;
	__u64 pgsize_bitmap;
};

#define IOMMU_IOASID_SNOOP_AUTO (1 << 1)
#define IOMMU_IOASID_FAULT (1 << 2)
#define IOMMU_IOASID_TYPE_USER 2
#define IOMMU_IOASID_NO_PARENT (-1)
enum iommu_ioasid_format {
	IOMMU_IOASID_FORMAT_NONE,
	IOMMU_IOASID_FORMAT_VTD_S1,
	IOMMU_IOASID_FORMAT_ARM_SMMUV3,
	IOMMU_IOASID_FORMAT_AMD_GUEST,
	IOMMU_IOASID_FORMAT_ARM_LPAE_S1,
	IOMMU_IOASID_FORMAT_AMD_V2,
	IOMMU_IOASID_FORMAT_RISCV_S1,
	IOMMU_IOASID_FORMAT_RISCV_PDT,
};
struct iommu_ioasid_alloc_attr {
	__u32 argsz, flags, type, addr_width;
	__s32 parent;
	__u32 format;
	__u64 addr;
	__u32 user_pgtable, user_pasid_table;
};
_Static_assert(__builtin_offsetof(struct iommu_ioasid_alloc_attr, parent) == sizeof(struct iommu_ioasid_alloc), "");

struct iommu_ioasid_dma_map {
	struct iommu_ioasid_dma_op op;
	struct vfio_iommu_type1_dma_map map;
};
struct iommu_ioasid_dma_unmap {
	struct iommu_ioasid_dma_op op;
	struct vfio_iommu_type1_dma_unmap unmap;
};

#define IOMMU_IOASID_INVALIDATE_COOKIE (1 << 0)
#define IOMMU_IOASID_INVALIDATE_VPASID (1 << 1)
#define IOMMU_IOASID_INVALIDATE_LEAF (1 << 2)
struct iommu_ioasid_invalidate {
	__u32 argsz, flags;
	__s32 ioasid;
	__u32 cache, granularity, vpasid;
	__u64 cookie, addr, granule_size, nb_granules;
};

#define IOMMU_IOASID_FAULT_PASID_VALID (1 << 0)
#define IOMMU_IOASID_FAULT_LAST_PAGE (1 << 1)
#define IOMMU_IOASID_FAULT_UNRECOVERABLE (1 << 2)
#define IOMMU_IOASID_FAULT_LOST (1 << 3)
#define IOMMU_IOASID_FAULT_ENDED (1 << 4)
struct iommu_ioasid_fault_region {
	__u32 argsz, flags;
	__s32 ioasid, eventfd;
	__u32 nr_records, record_size;
	__s32 out_fd;
	__u32 __reserved;
};
struct iommu_ioasid_fault_ring {
	__u64 head, tail;
	__u32 nr_records, record_size, offset, __reserved;
};
struct iommu_ioasid_fault {
	__s32 ioasid;
	__u32 flags;
	__u64 cookie, addr;
	__u32 perm, reason, vpasid, fault_id;
};
struct iommu_ioasid_fault_completion {
	__u32 argsz, flags;
	__s32 ioasid;
	__u32 fault_id;
	__u64 cookie;
	__u32 code, __reserved;
};

#define IOMMU_IOASID_DIRTY_START (1 << 0)
#define IOMMU_IOASID_DIRTY_STOP (1 << 1)
#define IOMMU_IOASID_DIRTY_GET_BITMAP (1 << 2)
#define IOMMU_IOASID_DIRTY_NO_CLEAR (1 << 3)
struct iommu_ioasid_dirty {
	__u32 argsz, flags;
	__s32 ioasid;
	__u32 __reserved;
	__u64 iova, size;
	struct vfio_bitmap bitmap;
};

struct vfio_bind_iommu_fd {
	__u32 argsz, flags;
	__s32 iommu_fd;
	__u32 __reserved;
	__u64 cookie;
};

#define IOASID_ATTACH_VPASID (1 << 0)
#define IOASID_ATTACH_NO_SNOOP (1 << 1)
#define IOASID_ATTACH_SNOOP (1 << 2)
struct vfio_attach_ioasid {
	__u32 argsz, flags;
	__s32 iommu_fd, ioasid;
	__u32 vpasid, __reserved;
};

#define PASID_DELEGATED (1 << 0)
#define PASID_CPU (1 << 1)
#define PASID_CPU_VIRT (1 << 2)
struct vfio_device_info_cap_pasid {
	struct vfio_info_cap_header header;
	__u32 flags, width;
};

struct kvm_pasid {
	__u32 argsz, flags;
	__s32 iommu_fd, ioasid;
	__u32 user_pasid, __reserved;
};

#endif
