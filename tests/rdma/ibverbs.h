/* A look-alike of libibverbs: RDMA devices in software, inside one process, so that the verbs transport can be
 * run natively, under sanitizers, and with faults that no cable gives on demand. Both ends of a connection are queue
 * pairs of this process.
 *
 * What the tests can do to it. All may be called at any time, from any thread. */
#ifndef TESTS_RDMA_IBVERBS_H
#define TESTS_RDMA_IBVERBS_H

#include <stdbool.h>
#include <stdint.h>

enum { NIC_DEVICES = 2 };

/* Back to how it starts: a good network, and one device. */
void nic_reset(void);

/* Packets are lost: what is on its way, and what comes, fails once its retries are spent. */
void nic_cut(bool cut);
void nic_cut_device(unsigned device, bool cut); /* those of one device */
/* How many there are; for contexts made from now on. */
void nic_devices(unsigned devices);
/* The device's folder, where its NUMA node stands in device/numa_node; for contexts made from now on. */
void nic_folder(unsigned device, const char *path);
/* Nothing moves, and nothing fails either. */
void nic_pause(bool pause);
/* Queue pairs that fail keep what they have, and do not say so. */
void nic_hold_flush(bool hold);
/* Every n-th work request fails as if its retries were spent, before (even) or after (odd) the other end did what it
 * asks; 0: none. */
void nic_fail_every(unsigned n);
/* The port is down. */
void nic_port_down(bool down);
void nic_port_down_device(unsigned device, bool down);
/* Memory cannot be registered. */
void nic_refuse_memory(bool refuse);
/* Registering at least so many bytes takes until this is 0 again. */
void nic_hold_memory(uint64_t least);
/* Device memory can be registered, by a dma-buf; not so at first. */
void nic_can_dmabuf(bool can);
/* A work request takes so long. */
void nic_delay(unsigned microseconds);
/* The device's events come to who takes them so much later. */
void nic_delay_events(unsigned microseconds);
/* What is put is not seen in memory before something is read behind it: as hardware may do it. */
void nic_lazy_writes(bool lazy);
/* What is flushed may have been sent: such writes arrive when this ends, where the other end's queue pair is there still. */
void nic_stray_writes(bool stray);
/* How the device calls itself: as one in software, which stores at once, or not. */
void nic_in_software(bool software);
/* Most bytes that go inline. */
void nic_inline_most(unsigned bytes);

typedef struct nic_counts {
  uint64_t moved[NIC_DEVICES]; /* bytes, by device of the requester */
  uint64_t writes, reads, sends, doorbells, completions, events;
  uint32_t queue_pairs, memories, dmabufs; /* that exist now; `memories` counts those of dma-bufs, too */
  uint64_t registered;                     /* bytes, now */
  uint32_t waiting;                        /* registrations that nic_hold_memory holds */
  uint32_t not_ready;                      /* times that a receiver had no buffer */
  uint32_t kept;                           /* queue pairs that nic_hold_flush keeps from flushing requests, now */
} nic_counts_t;
nic_counts_t nic_counts(void);

#endif
