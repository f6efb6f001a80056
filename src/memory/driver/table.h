/* The memory table of a driver. The table's entries take no `self`, so each backend needs functions of its own, which only
 * put the backend's driver in front; this macro is those, and the table.
 *
 *   HMCI_DRIVER_TABLE(cuda, HMC_MEMORY_NVIDIA_GPU, "nvidia", exports of foreign memory)
 *
 * expects `static hmci_driver_t driver`. */
#ifndef HMCI_DRIVER_TABLE_H
#define HMCI_DRIVER_TABLE_H

#include "driver.h"

#define HMCI_DRIVER_TABLE(folder, memory_kind, memory_name, foreign)                                                   \
  static hmc_status_t table_open(int *devices) { return hmci_driver_open(&driver, devices); }                          \
  static hmc_status_t table_allocate(int device, size_t size, void **pointer) {                                        \
    return hmci_driver_allocate(&driver, device, size, pointer);                                                       \
  }                                                                                                                    \
  static hmc_status_t table_allocate_peerable(int device, size_t size, void **pointer) {                               \
    return hmci_driver_allocate_peerable(&driver, device, size, pointer);                                              \
  }                                                                                                                    \
  static hmc_status_t table_free(int device, void *pointer) { return hmci_driver_free(&driver, device, pointer); }     \
  static hmc_status_t table_copy_from_host(int device, void *destination, const void *source, size_t size) {           \
    return hmci_driver_copy(&driver, device, destination, source, size, HMCI_COPY_FROM_HOST);                          \
  }                                                                                                                    \
  static hmc_status_t table_copy_to_host(int device, void *destination, const void *source, size_t size) {             \
    return hmci_driver_copy(&driver, device, destination, source, size, HMCI_COPY_TO_HOST);                            \
  }                                                                                                                    \
  static hmc_status_t table_copy_within(int device, void *destination, const void *source, size_t size) {              \
    return hmci_driver_copy(&driver, device, destination, source, size, HMCI_COPY_WITHIN);                             \
  }                                                                                                                    \
  static hmc_status_t table_copy_start(int device, void *destination, const void *source, size_t size, bool to_host,   \
                                       hmci_copy_t *copy) {                                                            \
    hmci_copy_piece_t piece = {destination, source, size};                                                             \
    return hmci_driver_copy_start(&driver, device, &piece, 1, hmci_driver_direction(&driver, source, to_host), copy);  \
  }                                                                                                                    \
  static hmc_status_t table_copy_batch_start(int device, const hmci_copy_piece_t *pieces, uint32_t count,              \
                                             hmci_copy_direction_t direction, hmci_copy_t *copy) {                     \
    return hmci_driver_copy_start(&driver, device, pieces, count, direction, copy);                                    \
  }                                                                                                                    \
  static hmc_status_t table_copy_done(hmci_copy_t *copy) { return hmci_driver_copy_done(&driver, copy); }              \
  static hmc_status_t table_stream_create(int device, void **stream) {                                                 \
    return hmci_driver_stream_create(&driver, device, stream);                                                         \
  }                                                                                                                    \
  static hmc_status_t table_stream_destroy(int device, void *stream) {                                                 \
    return hmci_driver_stream_destroy(&driver, device, stream);                                                        \
  }                                                                                                                    \
  static hmc_status_t table_stream_wait(int device, void *stream) {                                                    \
    return hmci_driver_stream_wait(&driver, device, stream);                                                           \
  }                                                                                                                    \
  static hmc_status_t table_copy_on_stream(int device, void *destination, const void *source, size_t size,             \
                                           void *stream) {                                                             \
    return hmci_driver_copy_on_stream(&driver, device, destination, source, size, stream);                             \
  }                                                                                                                    \
  static hmc_status_t table_event_record(int device, void *stream, hmci_event_t *event) {                              \
    return hmci_driver_event_record(&driver, device, stream, event);                                                   \
  }                                                                                                                    \
  static hmc_status_t table_event_done(hmci_event_t *event) { return hmci_driver_event_done(&driver, event); }         \
  static hmc_status_t table_host_allocate(int device, size_t size, void **pointer) {                                   \
    return hmci_driver_host_allocate(&driver, device, size, pointer);                                                  \
  }                                                                                                                    \
  static hmc_status_t table_host_free(int device, void *pointer) {                                                     \
    return hmci_driver_host_free(&driver, device, pointer);                                                            \
  }                                                                                                                    \
  static hmc_status_t table_pin(int device, void *pointer, size_t size) {                                              \
    return hmci_driver_pin(&driver, device, pointer, size);                                                            \
  }                                                                                                                    \
  static hmc_status_t table_unpin(int device, void *pointer) { return hmci_driver_unpin(&driver, device, pointer); }   \
  static hmc_status_t table_query(const void *pointer, hmc_memory_info_t *info) {                                      \
    return hmci_driver_query(&driver, pointer, info);                                                                  \
  }                                                                                                                    \
  static hmc_status_t table_properties(int device, hmc_memory_properties_t *properties) {                              \
    return hmci_driver_properties(&driver, device, properties);                                                        \
  }                                                                                                                    \
  static hmc_status_t table_reaches(int device, int other, bool *reaches) {                                            \
    return hmci_driver_reaches(&driver, device, other, reaches);                                                       \
  }                                                                                                                    \
  static hmc_status_t table_settle(int device) { return hmci_driver_settle(&driver, device); }                         \
  static hmc_status_t table_export(int device, void *pointer, size_t size, hmci_memory_export_t *exported) {           \
    return hmci_driver_export(&driver, device, pointer, size, exported);                                               \
  }                                                                                                                    \
  static hmc_status_t table_import(int device, const hmci_memory_export_t *exported, size_t size, void **pointer) {    \
    return hmci_driver_import(&driver, device, exported, size, pointer);                                               \
  }                                                                                                                    \
  static void table_release_import(int device, void *pointer, size_t size) {                                           \
    hmci_driver_release_import(&driver, device, pointer, size);                                                        \
  }                                                                                                                    \
  static hmc_status_t table_dmabuf(int device, void *pointer, size_t size, int *descriptor, uint64_t *offset) {        \
    return hmci_driver_dmabuf(&driver, device, pointer, size, descriptor, offset);                                     \
  }                                                                                                                    \
  const hmci_memory_ops_t hmci_memory_##folder = {                                                                     \
      .kind = memory_kind,                                                                                             \
      .name = memory_name,                                                                                             \
      .open = table_open,                                                                                              \
      .allocate = table_allocate,                                                                                      \
      .allocate_peerable = table_allocate_peerable,                                                                    \
      .free = table_free,                                                                                              \
      .copy_from_host = table_copy_from_host,                                                                          \
      .copy_to_host = table_copy_to_host,                                                                              \
      .copy_within = table_copy_within,                                                                                \
      .copy_start = table_copy_start,                                                                                  \
      .copy_batch_start = table_copy_batch_start,                                                                      \
      .copy_done = table_copy_done,                                                                                    \
      .stream_create = table_stream_create,                                                                            \
      .stream_destroy = table_stream_destroy,                                                                          \
      .stream_wait = table_stream_wait,                                                                                \
      .copy_on_stream = table_copy_on_stream,                                                                          \
      .event_record = table_event_record,                                                                              \
      .event_done = table_event_done,                                                                                  \
      .host_allocate = table_host_allocate,                                                                            \
      .host_free = table_host_free,                                                                                    \
      .pin = table_pin,                                                                                                \
      .unpin = table_unpin,                                                                                            \
      .query = table_query,                                                                                            \
      .properties = table_properties,                                                                                  \
      .reaches = table_reaches,                                                                                        \
      .settle = table_settle,                                                                                          \
      .export_range = table_export,                                                                                    \
      .import_range = table_import,                                                                                    \
      .release_import = table_release_import,                                                                          \
      .export_dmabuf = table_dmabuf,                                                                                   \
      .exports_foreign = foreign,                                                                                      \
  }

#endif
