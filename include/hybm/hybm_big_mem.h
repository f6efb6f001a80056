/* HYBM: entities, their slices of memory, and what they exchange (see hybm.h). `flags` are 0 unless a comment says
 * otherwise. Threads: any; a call that changes an entity waits for copies of other threads, except for
 * hybm_destroy_entity, after which nobody may use it. */
#ifndef HYBM_BIG_MEM_H
#define HYBM_BIG_MEM_H

#include "hybm.h"
#include "hybm_def.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes an entity. Entities of the same id, one in each process, belong together. NULL: hybm_init comes first, or the
 * options do not fit (a rank that is not below rankCount, address space that is not a multiple of 2 MiB); the text says
 * which. */
HYBM_API hybm_entity_t hybm_create_entity(uint16_t id, const hybm_options *options, uint32_t flags);

/* Frees an entity with all it has; peers' copies to and from its slices end with -2007. A pointer that is not an entity is
 * logged, and nothing more happens. */
HYBM_API void hybm_destroy_entity(hybm_entity_t e, uint32_t flags);

/* Reserves the addresses of all ranks, at the same place in every process: rank r's device memory begins at the range's
 * base + deviceVASpace * r. Errors: -2005 (it has them already), -2001 (the addresses are in use in this process, or too many). */
HYBM_API int32_t hybm_reserve_mem_space(hybm_entity_t e, uint32_t flags);

/* Takes that back. Errors: -2009 (slices or imports are left), -2003 (nothing is reserved). */
HYBM_API int32_t hybm_unreserve_mem_space(hybm_entity_t e, uint32_t flags);

/* Where the range of a kind begins; NULL: it is not reserved. */
HYBM_API void *hybm_get_memory_ptr(hybm_entity_t e, hybm_mem_type mType);

/* Allocates a slice at this rank's next addresses. Host memory is mapped there; a device's is reached by copies. NULL: no
 * addresses or memory are left, or the size is not a multiple of 2 MiB. */
HYBM_API hybm_mem_slice_t hybm_alloc_local_memory(hybm_entity_t e, hybm_mem_type mType, uint64_t size, uint32_t flags);

/* Makes a slice of memory that the program has: host memory, or a device's. It must be freed as a slice before its memory
 * goes. NULL: it cannot be registered. */
HYBM_API hybm_mem_slice_t hybm_register_local_memory(hybm_entity_t e, const void *ptr, uint64_t size, uint32_t flags);

/* Frees a slice: when it returns, no peer reads or writes it any more. `slice` NULL: all of them; `count` above 1: `slice`
 * is an array of as many. Errors: -2000 (no slice of this entity). */
HYBM_API int32_t hybm_free_local_memory(hybm_entity_t e, hybm_mem_slice_t slice, uint32_t count, uint32_t flags);

/* The global address of a slice; NULL: it is none. */
HYBM_API void *hybm_get_slice_va(hybm_entity_t e, hybm_mem_slice_t slice);

/* Describes a slice to other entities, or with HYBM_FLAG_EXPORT_ENTITY, and where `slice` is NULL, the entity itself.
 * Errors: -2000. */
HYBM_API int32_t hybm_export(hybm_entity_t e, hybm_mem_slice_t slice, uint32_t flags, hybm_exchange_info *exInfo);

/* The bytes that the description of a slice has at most. */
HYBM_API int32_t hybm_export_slice_size(hybm_entity_t e, size_t *size);

/* Takes what others have exported: connects to them and opens their slices. `addresses`, where given, gets where each
 * lies here (NULL for an entity): of an allocated slice its global address. One's own are skipped. Blocking: until the
 * peers have answered. Errors: -2000 (no such description, or of another id), -2004, -2007 (its process or slice is
 * gone). After an error those before it are imported. */
HYBM_API int32_t hybm_import(hybm_entity_t e, const hybm_exchange_info allExInfo[], uint32_t count, void *addresses[],
                             uint32_t flags);

/* Maps the host slices of entities on this host that are imported: their global addresses are pointers then. Others are
 * left to copies. hybm_unmap takes that back. Errors: -2007. */
HYBM_API int32_t hybm_mmap(hybm_entity_t e, uint32_t flags);
HYBM_API void hybm_unmap(hybm_entity_t e, uint32_t flags);

/* How copies reach a rank, as a mask of hybm_data_op_type; 0: nothing of it is imported. Errors: -2000. */
#ifdef __cplusplus
HYBM_API int32_t hybm_entity_reach_types(hybm_entity_t e, uint32_t rank, hybm_data_op_type &reachTypes, uint32_t flags);
#else
HYBM_API int32_t hybm_entity_reach_types(hybm_entity_t e, uint32_t rank, hybm_data_op_type *reachTypes, uint32_t flags);
#endif

/* Forgets a rank with all that was imported of it. Errors: -2000 (no such rank). */
HYBM_API int32_t hybm_remove_imported(hybm_entity_t e, uint32_t rank, uint32_t flags);

/* Copies 1 to 65536 bytes to device memory of the entity, for kernels of this process. Errors: -2000, -2001. */
HYBM_API int32_t hybm_set_extra_context(hybm_entity_t e, const void *context, uint32_t size);

/* Where those bytes are for a kernel, and how many; NULL: none were set. An addition of HMC's. */
HYBM_API void *hybm_get_extra_context(hybm_entity_t e, uint32_t *size);

#ifdef __cplusplus
}
#endif

#endif
