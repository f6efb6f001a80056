/* The settings table: every HMC_* variable, its kind, default and documentation in one place.
 *
 * A context reads them once, when it is made; nothing calls getenv afterwards. */
#ifndef HMCI_SETTINGS_H
#define HMCI_SETTINGS_H

#include "base.h"

#include <hmc/settings.h>

/* X(kind, field, "HMC_NAME", "default", "documentation").
 * Kinds: DURATION (nanoseconds in the struct; written "30s", "5ms", "20us"), SIZE (bytes; "64K", "16M", "1G"; binary
 * units), COUNT (uint64_t), SWITCH (0/1; "yes", "no", "on", "off", "true", "false"), TEXT (char[256]), RATE (bytes per
 * second, 0: without limit; written as sizes: "8G"). */
#define HMCI_SETTINGS_LIST(X)                                                                                          \
  X(DURATION, timeout, "HMC_TIMEOUT", "30s", "Deadline of every operation that has none of its own.")                  \
  X(DURATION, peer_timeout, "HMC_PEER_TIMEOUT", "10s",                                                                 \
    "A peer whose host stops acknowledging for this long counts as lost. A process that dies is noticed at once.")     \
  X(DURATION, spin, "HMC_SPIN", "50us",                                                                                \
    "How long a waiting thread, and the service thread after traffic, polls before it sleeps in the kernel.")          \
  X(COUNT, service_threads, "HMC_SERVICE_THREADS", "0",                                                                \
    "Threads of a context that move its peers' data (1 to 64); 0: one for every four processors, at most 8.")          \
  X(TEXT, log_level, "HMC_LOG", "warning", "What is logged to stderr: none, error, warning, info or debug.")           \
  X(TEXT, metrics, "HMC_METRICS", "",                                                                                  \
    "Where the process shows its counters to Prometheus and hmc-top: unix:PATH, or a port of the loopback such as "    \
    "127.0.0.1:9400; %p in a path is the process's number; empty: nowhere.")                                           \
  X(TEXT, recorder, "HMC_RECORDER", "",                                                                                \
    "A file of 1 MiB in which the process keeps its last events, for hmc-info --recorder, also when it is killed; %p " \
    "is the process's number; empty: none.")                                                                           \
  X(TEXT, secret, "HMC_SECRET", "",                                                                                    \
    "The secret that peers share, as text of at least 16 bytes; overrides the user's own file.")                       \
  X(TEXT, secret_file, "HMC_SECRET_FILE", "",                                                                          \
    "A file that holds the secret; only its owner may read it. Overrides HMC_SECRET and ~/.hmc/secret.")               \
  X(SWITCH, insecure, "HMC_INSECURE", "no", "Turns authentication and encryption off. Both ends must agree.")          \
  X(TEXT, transports, "HMC_TRANSPORTS", "",                                                                            \
    "Ways to reach peers that may be used, separated by commas: shm, rdma, tcp, ucx; empty: all.")                     \
  X(SWITCH, encrypt, "HMC_ENCRYPT", "no",                                                                              \
    "Encrypts and authenticates the payload of tcp data connections too, by AES-128 with keys of the TLS 1.3 "         \
    "handshake; RDMA and UCX, which cannot, are not used then. One end that wants it is enough.")                      \
  X(TEXT, cipher, "HMC_CIPHER", "auto",                                                                                \
    "What seals encrypted payload: gcm (AES-128-GCM), ocb (AES-128-OCB), or auto, the one that is faster here; ocb "   \
    "where both ends have it, else gcm.")                                                                              \
  X(COUNT, tcp_streams, "HMC_TCP_STREAMS", "1",                                                                        \
    "Sockets per peer and direction that large tcp transfers are spread over (1 to 16).")                              \
  X(SIZE, tcp_buffer, "HMC_TCP_BUFFER", "0",                                                                           \
    "Kernel socket buffer of tcp data connections (64K to 1G); 0 leaves it to the kernel.")                            \
  X(TEXT, tcp_congestion, "HMC_TCP_CONGESTION", "auto",                                                                \
    "Congestion control of tcp data connections, by the kernel's name for it; auto: the system's, but reno, which "    \
    "does not pace, where both ends are on this host.")                                                                \
  X(SWITCH, shm_cma, "HMC_SHM_CMA", "yes",                                                                             \
    "Lets shm read registered memory by process_vm_readv; with no, or where the system forbids it, the bytes are "     \
    "staged through a socket.")                                                                                        \
  X(SIZE, staging, "HMC_STAGING", "16M",                                                                               \
    "Host memory per context through which bytes of device memory pass when there is no direct way (1M to 1T).")       \
  X(SIZE, chunk, "HMC_CHUNK", "0",                                                                                     \
    "Size of the chunks that device memory is moved in (64K to 1M); 0: from the device's measured speed.")             \
  X(COUNT, depth, "HMC_DEPTH", "4", "Chunks of one transfer in progress at a time, at each end (1 to 8).")             \
  X(COUNT, requests, "HMC_REQUESTS", "65536",                                                                          \
    "Requests of a context that are not freed (16 to 16777216); starting one more fails.")                             \
  X(COUNT, notifications, "HMC_NOTIFICATIONS", "1024",                                                                 \
    "Notifications of one peer that wait for the application (16 to 1048576); the next waits at the sender.")          \
  X(SIZE, notification_bytes, "HMC_NOTIFICATION_BYTES", "8M",                                                          \
    "Bytes of one peer's notifications that wait for the application (4M to 1T); the next one waits at the sender.")   \
  X(DURATION, store_lease, "HMC_STORE_LEASE", "3s",                                                                    \
    "How long the store may hear nothing from a client before the keys of its leases vanish, where a program says no " \
    "time of its own; SMEM's members are such (100ms to 3600s).")                                                      \
  X(DURATION, store_heartbeat, "HMC_STORE_HEARTBEAT", "0",                                                             \
    "Time between two heartbeats of a client that has leases (10ms to 3600s): at most half of the shortest "           \
    "lease's time; 0: a quarter of it.")                                                                               \
  X(DURATION, store_grace, "HMC_STORE_GRACE", "1s",                                                                    \
    "How long a client whose connection broke may take to come back before its leases end, where the store "           \
    "runs (1ms to 3600s).")                                                                                            \
  X(SIZE, store_memory, "HMC_STORE_MEMORY", "1G",                                                                      \
    "Most bytes of keys and values that a store takes, at the process that serves it (4K to 64T).")                    \
  X(COUNT, store_clients, "HMC_STORE_CLIENTS", "16384",                                                                \
    "Most clients that a store takes at a time, at the process that serves it (1 to 1048576); the others wait.")       \
  X(SIZE, registration_cache, "HMC_REGISTRATION_CACHE", "1G",                                                          \
    "Memory per RDMA device that stays registered though no region needs it, until it is freed; 0: none.")             \
  X(TEXT, module_path, "HMC_MODULE_PATH", "",                                                                          \
    "The folder that transports loaded at run time (verbs, ucx) are looked for in; empty: hmc/ beside the library.")   \
  X(TEXT, verbs_device, "HMC_RDMA_DEVICE", "", "RDMA devices to use, by name, separated by commas; empty: all.")       \
  X(COUNT, verbs_rails, "HMC_RDMA_RAILS", "1",                                                                         \
    "RDMA devices that large transfers between two peers are spread over, where both ends have and want them (1 to "   \
    "4).")                                                                                                             \
  X(SIZE, verbs_pinned_max, "HMC_RDMA_PINNED_MAX", "0",                                                                \
    "Most bytes of regions registered with RDMA devices at a time, per context; 0: as many as the system lets pin.")   \
  X(COUNT, verbs_buffers, "HMC_RDMA_BUFFERS", "512",                                                                   \
    "Most buffers of 128 KiB that an RDMA device receives messages in (4 to 65536): there are 32 at first, and 8 per " \
    "peer. More peers share them, and wait for each other. As many slots, which messages go out from, has the "        \
    "context.")                                                                                                        \
  X(TEXT, verbs_flush, "HMC_RDMA_FLUSH", "auto",                                                                       \
    "Whether peers follow RDMA puts to here by a read that makes them visible: auto (yes, but for devices in "         \
    "software), yes or no.")                                                                                           \
  X(COUNT, verbs_traffic_class, "HMC_RDMA_TRAFFIC_CLASS", "0", "Traffic class of RoCE packets (0 to 255).")            \
  X(TEXT, cuda_library, "HMC_CUDA_LIBRARY", "",                                                                        \
    "The CUDA driver's library, which NVIDIA memory is reached by; empty: libcuda.so.1; none: do not look.")           \
  X(SWITCH, cuda_gather, "HMC_CUDA_GATHER", "yes",                                                                     \
    "Copies many small blocks inside an NVIDIA GPU by a kernel; no: by the copy engines, which need no processors.")   \
  X(TEXT, hip_library, "HMC_HIP_LIBRARY", "",                                                                          \
    "The HIP runtime for memory of AMD and Hygon; empty: libamdhip64.so or libgalaxyhip.so; none: do not look.")       \
  X(TEXT, cnrt_library, "HMC_CNRT_LIBRARY", "",                                                                        \
    "The Cambricon runtime for memory of MLUs; empty: libcnrt.so; none: do not look.")                                 \
  X(TEXT, musa_library, "HMC_MUSA_LIBRARY", "",                                                                        \
    "The MUSA runtime for memory of Moore Threads; empty: libmusart.so; none: do not look.")                           \
  X(TEXT, acl_library, "HMC_ACL_LIBRARY", "",                                                                          \
    "The Ascend Computing Language for memory of Ascend NPUs; empty: libascendcl.so; none: do not look.")              \
  X(COUNT, sim_devices, "HMC_SIM_DEVICES", "2", "Number of software accelerators (0 to 8).")                           \
  X(RATE, sim_bandwidth, "HMC_SIM_BANDWIDTH", "0",                                                                     \
    "Copy bandwidth of each software accelerator in bytes per second; 0: as fast as the host copies.")                 \
  X(DURATION, sim_latency, "HMC_SIM_LATENCY", "0", "Latency of each copy of a software accelerator.")                  \
  X(SWITCH, sim_handles, "HMC_SIM_HANDLES", "yes",                                                                     \
    "Lets other processes import memory of software accelerators; no: they are like devices that have no handles.")

/* The struct a context keeps. DURATION, SIZE, COUNT, RATE: uint64_t; SWITCH: bool; TEXT: char[256]. */
#define HMCI_FIELD_DURATION(name) uint64_t name;
#define HMCI_FIELD_SIZE(name) uint64_t name;
#define HMCI_FIELD_COUNT(name) uint64_t name;
#define HMCI_FIELD_RATE(name) uint64_t name;
#define HMCI_FIELD_SWITCH(name) bool name;
#define HMCI_FIELD_TEXT(name) char name[256];
typedef struct hmci_settings {
#define HMCI_FIELD(kind, field, variable, default_value, documentation) HMCI_FIELD_##kind(field)
  HMCI_SETTINGS_LIST(HMCI_FIELD)
#undef HMCI_FIELD
} hmci_settings_t;

/* Reads the environment; a variable that is set to nothing counts as not set. Errors: HMC_INVALID_CONFIG: the text
 * names the variable, what it held, and what it takes. Nothing is written then. */
hmc_status_t hmci_settings_read(hmci_settings_t *settings);

/* Logs the variables that look like settings and are none, once per process. */
void hmci_settings_warn(void);

#pragma GCC visibility push(default) /* modules call this: see hmc.map */

/* True where `name` is in a list of names separated by commas, or the list is empty. */
bool hmci_setting_lists(const char *list, const char *name);

#pragma GCC visibility pop

#endif
