/* What the files of the software accelerator share. */
#ifndef HMCI_SIM_INTERNAL_H
#define HMCI_SIM_INTERNAL_H

#include "sim.h"

typedef struct hmci_sim_transfer {
  int device; /* whose engine is used */
  void *destination;
  const void *source;
  size_t size;
  bool is_to_host, is_from_host;
} hmci_sim_transfer_t;

/* allocation.c */
hmc_status_t hmci_sim_check_device(int device);
/* Does an address lie in a live allocation of any device? */
bool hmci_sim_is_device(const void *pointer);
/* Checks a copy and, where `due` is not NULL, books its time: it is over at `*due`. */
hmc_status_t hmci_sim_begin(const hmci_sim_transfer_t *transfer, uint64_t *due);
/* Moves the bytes; what was live when the copy began may be gone. */
hmc_status_t hmci_sim_move(const hmci_sim_transfer_t *transfer);

hmc_status_t hmci_sim_open(int *devices);
hmc_status_t hmci_sim_allocate(int device, size_t size, void **pointer);
hmc_status_t hmci_sim_free(int device, void *pointer);
hmc_status_t hmci_sim_query(const void *pointer, hmc_memory_info_t *info);
hmc_status_t hmci_sim_export(int device, void *pointer, size_t size, hmci_memory_export_t *exported);
hmc_status_t hmci_sim_import(int device, const hmci_memory_export_t *exported, size_t size, void **pointer);
void hmci_sim_release_import(int device, void *pointer, size_t size);
hmc_status_t hmci_sim_export_dmabuf(int device, void *pointer, size_t size, int *descriptor, uint64_t *offset);

/* stream.c */
hmc_status_t hmci_sim_copy_start(int device, void *destination, const void *source, size_t size, bool to_host,
                                 hmci_copy_t *copy);
hmc_status_t hmci_sim_copy_batch_start(int device, const hmci_copy_piece_t *pieces, uint32_t count,
                                       hmci_copy_direction_t direction, hmci_copy_t *copy);
hmc_status_t hmci_sim_copy_done(hmci_copy_t *copy);
hmc_status_t hmci_sim_stream_create(int device, void **stream);
hmc_status_t hmci_sim_stream_destroy(int device, void *stream);
hmc_status_t hmci_sim_stream_wait(int device, void *stream);
hmc_status_t hmci_sim_copy_on_stream(int device, void *destination, const void *source, size_t size, void *stream);
hmc_status_t hmci_sim_event_record(int device, void *stream, hmci_event_t *event);
hmc_status_t hmci_sim_event_done(hmci_event_t *event);

/* device.c */
hmc_status_t hmci_sim_host_allocate(int device, size_t size, void **pointer);
hmc_status_t hmci_sim_host_free(int device, void *pointer);
hmc_status_t hmci_sim_pin(int device, void *pointer, size_t size);
hmc_status_t hmci_sim_unpin(int device, void *pointer);
hmc_status_t hmci_sim_properties(int device, hmc_memory_properties_t *properties);
hmc_status_t hmci_sim_reaches(int device, int other, bool *reaches);
hmc_status_t hmci_sim_settle(int device);

#endif
