/* Memories: where bytes live. A memory is a kind and a device; every call takes it by value.
 *
 * Pointers to device memory are opaque to the host: reading or writing through them faults. Bytes get in and out by
 * hmc_memory_copy. All calls are thread-safe and blocking; a copy is complete when the call returns. */
#ifndef HMC_MEMORY_H
#define HMC_MEMORY_H

#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hmc_memory_kind {
  HMC_MEMORY_DEFAULT = 0, /* the first accelerator that works here, else CPU */
  HMC_MEMORY_CPU = 1,
  HMC_MEMORY_NVIDIA_GPU = 2,
  HMC_MEMORY_AMD_GPU = 3,
  HMC_MEMORY_CAMBRICON_MLU = 4,
  HMC_MEMORY_HUAWEI_ASCEND_NPU = 5,
  HMC_MEMORY_MOORE_GPU = 6,
  HMC_MEMORY_SIM =
      7, /* an accelerator in software: HMC_SIM_DEVICES, HMC_SIM_BANDWIDTH, HMC_SIM_LATENCY; never the default */
} hmc_memory_kind_t;

typedef struct hmc_memory {
  hmc_memory_kind_t kind;
  int device; /* 0 .. hmc_memory_devices() - 1; CPU has one device */
} hmc_memory_t;

/* What a pointer points to. */
typedef struct hmc_memory_info {
  hmc_memory_t memory;
  void *base;  /* start of the allocation, or NULL where the platform does not say (plain host memory) */
  size_t size; /* bytes from `base`, 0 where not known */
} hmc_memory_info_t;

/* "cpu", "nvidia", "amd", "mlu", "ascend", "moore", "sim", "default"; "unknown" otherwise. Static storage. */
HMC_API const char *hmc_memory_kind_name(hmc_memory_kind_t kind);

/* The kind with that name. Errors: HMC_NOT_FOUND. */
HMC_API hmc_status_t hmc_memory_kind_parse(const char *name, hmc_memory_kind_t *kind);

/* The number of devices of a kind that work here. HMC_UNSUPPORT, and *devices untouched, where the kind does not work
 * here at all; the text says what is missing (driver, library, device). */
HMC_API hmc_status_t hmc_memory_devices(hmc_memory_kind_t kind, int *devices);

/* Resolves HMC_MEMORY_DEFAULT to the kind it stands for here and checks the device number.
 * Errors: HMC_UNSUPPORT, HMC_NOT_FOUND (no such device). */
HMC_API hmc_status_t hmc_memory_resolve(hmc_memory_t memory, hmc_memory_t *resolved);

/* Allocates `size` bytes, aligned to at least 256. Ownership: the caller's, until hmc_memory_free with the same memory.
 * Errors: HMC_INVALID_CONFIG (size 0, pointer NULL), HMC_UNSUPPORT, HMC_NOT_FOUND, HMC_NO_MEMORY. */
HMC_API hmc_status_t hmc_memory_allocate(hmc_memory_t memory, size_t size, void **pointer);

/* Frees what hmc_memory_allocate gave; NULL is allowed. Errors: HMC_NOT_FOUND (not a live allocation of that
 * memory). */
HMC_API hmc_status_t hmc_memory_free(hmc_memory_t memory, void *pointer);

/* Copies `size` bytes between any two memories of this process, in any direction (host to device, device to host,
 * device to device, between kinds through the host). The ranges must not overlap unless both lie in one memory.
 * Errors: HMC_INVALID_CONFIG (NULL with size > 0), HMC_OUT_OF_RANGE (past a device allocation), HMC_UNSUPPORT. */
HMC_API hmc_status_t hmc_memory_copy(void *destination, hmc_memory_t destination_memory, const void *source,
                                     hmc_memory_t source_memory, size_t size);

/* Tells which memory a pointer belongs to; a pointer that no accelerator knows is host memory.
 * Errors: HMC_INVALID_CONFIG (NULL). */
HMC_API hmc_status_t hmc_memory_query(const void *pointer, hmc_memory_info_t *info);

#ifdef __cplusplus
}
#endif
#endif
