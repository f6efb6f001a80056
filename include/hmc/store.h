/* The store: keys and values by which processes find each other, count, wait for each other, and notice deaths.
 *
 * One process serves the store (hmc_store_server_start, or the program hmc-store), the others are its clients.
 * Connections are authenticated and encrypted by the secret, as in context.h. A key is a text of 1 to HMC_STORE_KEY_MAX
 * bytes; a value is any bytes, at most HMC_STORE_VALUE_MAX.
 *
 * A client outlives a short outage of the store: it connects again by itself, its calls wait for that until their
 * deadlines, and each call takes effect once, however often it had to be sent. A store that comes back without a
 * journal is empty: clients then put the keys of their leases back. With a journal it has everything it had.
 *
 * Threads: all calls are thread-safe unless they say otherwise. Every call that blocks ends by its deadline:
 * `timeout_ms`, 0 for the client's. After fork() a client is unusable in the child (HMC_UNSUPPORT).
 *
 * Errors common to all calls on a client: HMC_TIMEOUT (no answer in time; the text says whether the store is away),
 * HMC_DENIED (the secrets differ), HMC_INVALID_CONFIG (NULL; a key or a value that is too long), HMC_NO_MEMORY (here, or
 * the store is full). */
#ifndef HMC_STORE_H
#define HMC_STORE_H

#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HMC_STORE_KEY_MAX 512            /* bytes of a key, without the end */
#define HMC_STORE_VALUE_MAX (1u << 20)   /* bytes of a value */
#define HMC_STORE_GATHER_MAX (64u << 20) /* bytes that one gather brings together */

typedef struct hmc_store_server hmc_store_server_t;
typedef struct hmc_store hmc_store_t;
typedef struct hmc_store_lease hmc_store_lease_t;
typedef struct hmc_store_watch hmc_store_watch_t;

/* Certificates in place of the secret, at both ends or at neither. Texts are copied. Begin with
 * HMC_STORE_CERTIFICATES_INIT. */
typedef struct hmc_store_certificates {
  size_t size;              /* sizeof(hmc_store_certificates_t) */
  const char *authorities;  /* PEM files of who may sign the other end's certificate, separated by commas */
  const char *certificate;  /* the PEM file of one's own, with its chain */
  const char *key;          /* its private key as PEM text, or NULL: key_file */
  const char *key_file;     /* or as a PEM file */
  const char *key_password; /* NULL: the key is not encrypted */
  const char *revocations;  /* PEM files of revoked certificates, separated by commas; NULL: none */
} hmc_store_certificates_t;

#define HMC_STORE_CERTIFICATES_INIT HMC_SIZED_INIT(hmc_store_certificates_t)

/* ---- the server -------------------------------------------------------------------------------------------------- */

/* Zero in a field means its default. */
typedef struct hmc_store_server_options {
  size_t size;          /* of this struct: HMC_STORE_SERVER_OPTIONS_INIT sets it */
  const char *ip;       /* the address to listen on; NULL: 127.0.0.1 */
  uint16_t port;        /* 0: a free one */
  const char *journal;  /* a file that keeps the keys over a restart, made with mode 0600; NULL: none */
  uint64_t memory_max;  /* bytes of keys and values that are taken; default 1 GiB */
  uint64_t clients_max; /* default 16384 */
  uint64_t grace_ms;    /* how long a client that is gone may take to come back before its leases end; default 1000 */
  const hmc_store_certificates_t *certificates; /* NULL: by the secret */
} hmc_store_server_options_t;

#define HMC_STORE_SERVER_OPTIONS_INIT HMC_SIZED_INIT(hmc_store_server_options_t)

/* Serves a store from a thread of its own. `options` may be NULL.
 * Ownership: the caller's, until hmc_store_server_stop. Errors: HMC_ADDRESS_IN_USE (also where another server has the
 * journal), HMC_INVALID_CONFIG (not an address of this host; a journal that cannot be read or written; settings; the
 * secret), HMC_CORRUPT (the file is no journal), HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_server_start(const hmc_store_server_options_t *options,
                                                        hmc_store_server_t **server);

/* Hangs up on all clients and frees; NULL is allowed. */
HMC_API void hmc_store_server_stop(hmc_store_server_t *server);

/* The port it listens on. */
HMC_API uint16_t hmc_store_server_port(const hmc_store_server_t *server);

/* ---- a client ---------------------------------------------------------------------------------------------------- */

typedef struct hmc_store_options {
  size_t size;                                  /* of this struct: HMC_STORE_OPTIONS_INIT sets it */
  uint64_t timeout_ms;                          /* deadline of calls without their own; 0: HMC_TIMEOUT */
  const hmc_store_certificates_t *certificates; /* NULL: by the secret */
} hmc_store_options_t;

#define HMC_STORE_OPTIONS_INIT HMC_SIZED_INIT(hmc_store_options_t)

/* Connects to the store at `address`: "tcp://10.0.0.2:4100", "tcp://[fd00::2]:4100", or either without the scheme.
 * Repeats until the store listens or the deadline passes. `options` may be NULL.
 * Ownership: the caller's, until hmc_store_close. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_connect(const char *address, const hmc_store_options_t *options,
                                                   uint64_t timeout_ms, hmc_store_t **store);

/* Ends the leases and watches of the client, hangs up and frees; NULL is allowed. Threads: no other call on it may run
 * or follow. */
HMC_API void hmc_store_close(hmc_store_t *store);

/* ---- keys -------------------------------------------------------------------------------------------------------- */

/* Sets a key, which then belongs to `lease` and vanishes with it; NULL: to none. Errors: HMC_STALE (the lease is
 * lost). */
HMC_API HMC_CHECKED hmc_status_t hmc_store_set(hmc_store_t *store, const char *key, const void *value,
                                               size_t value_size, hmc_store_lease_t *lease, uint64_t timeout_ms);

/* Reads a key into `value` (`capacity` bytes); `value_size` gets the value's size. Errors: HMC_NOT_FOUND,
 * HMC_OUT_OF_RANGE (larger than `capacity`; *value_size tells). */
HMC_API HMC_CHECKED hmc_status_t hmc_store_get(hmc_store_t *store, const char *key, void *value, size_t capacity,
                                               size_t *value_size, uint64_t timeout_ms);

/* As hmc_store_get, but waits until the key is there. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_wait(hmc_store_t *store, const char *key, void *value, size_t capacity,
                                                size_t *value_size, uint64_t timeout_ms);

/* Adds to a counter, a key whose value is a number written in decimal; one that is not there counts as 0. `result` (may
 * be NULL) gets the sum, which wraps around. Errors: HMC_CORRUPT (the value is no number). */
HMC_API HMC_CHECKED hmc_status_t hmc_store_add(hmc_store_t *store, const char *key, int64_t amount, int64_t *result,
                                               uint64_t timeout_ms);

/* Sets a key where its value is `expected`, or, with `expected` NULL, where it is not there. `swapped` gets 1 or 0. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_compare_swap(hmc_store_t *store, const char *key, const void *expected,
                                                        size_t expected_size, const void *value, size_t value_size,
                                                        hmc_store_lease_t *lease, int *swapped, uint64_t timeout_ms);

/* Removes a key. Errors: HMC_NOT_FOUND. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_delete(hmc_store_t *store, const char *key, uint64_t timeout_ms);

/* Gets one key of a list; key and value are valid during the call only. It must not call the store. */
typedef void (*hmc_store_list_callback_t)(const char *key, const void *value, size_t value_size, void *user);

/* Calls `callback`, in the caller's thread, for each key that begins with `prefix` ("": all), in the order of their
 * bytes, as they all were at one moment. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_list(hmc_store_t *store, const char *prefix,
                                                hmc_store_list_callback_t callback, void *user, uint64_t timeout_ms);

/* ---- leases ------------------------------------------------------------------------------------------------------ */

/* A lease holds keys for as long as its client lives: they vanish when it is released, when the client has been gone
 * for the server's grace time, or when nothing was heard from it for `ttl_ms` (at least 100). Heartbeats are sent by
 * themselves. Where the store has lost the lease (an outage, a process that was stopped), the client takes it up again
 * with its keys, unless somebody else has set one of them meanwhile: then the lease is lost.
 * Ownership: the client's, until hmc_store_lease_release. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_lease_create(hmc_store_t *store, uint64_t ttl_ms, uint64_t timeout_ms,
                                                        hmc_store_lease_t **lease);

/* HMC_SUCCESS, or HMC_STALE where the lease is lost. Never blocks for long. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_lease_state(hmc_store_lease_t *lease);

/* Removes the lease and its keys and frees it; NULL is allowed. What the store does not answer in time ends by the
 * lease's TTL. Threads: no other call may use the lease. */
HMC_API void hmc_store_lease_release(hmc_store_lease_t *lease, uint64_t timeout_ms);

/* ---- watches ----------------------------------------------------------------------------------------------------- */

typedef enum hmc_store_event_kind {
  HMC_STORE_PUT = 1,    /* the key has this value now */
  HMC_STORE_DELETE = 2, /* the key is gone; it has no value */
  HMC_STORE_SYNCED = 3, /* all that was there when the watch began has been told; no key */
} hmc_store_event_kind_t;

typedef struct hmc_store_event {
  hmc_store_event_kind_t kind;
  const char *key;
  const void *value;
  size_t value_size;
} hmc_store_event_t;

/* Tells of each key that begins with `prefix` ("": all): first of those that are there, then HMC_STORE_SYNCED, then of
 * every change, in order. Over an outage only the last of several changes of a key is told.
 * Ownership: the client's, until hmc_store_watch_stop. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_watch_start(hmc_store_t *store, const char *prefix, uint64_t timeout_ms,
                                                       hmc_store_watch_t **watch);

/* Waits for the next event. What `event` points to is valid until the next call on the watch. Errors: HMC_TIMEOUT,
 * HMC_CANCELLED (hmc_store_watch_interrupt). Threads: one at a time per watch. */
HMC_API HMC_CHECKED hmc_status_t hmc_store_watch_next(hmc_store_watch_t *watch, hmc_store_event_t *event,
                                                      uint64_t timeout_ms);

/* Ends the wait of the thread that is in hmc_store_watch_next, or of the next that comes, with HMC_CANCELLED. */
HMC_API void hmc_store_watch_interrupt(hmc_store_watch_t *watch);

/* Ends the watch and frees it; NULL is allowed. Threads: no other call may use the watch. */
HMC_API void hmc_store_watch_stop(hmc_store_watch_t *watch);

/* ---- meeting ----------------------------------------------------------------------------------------------------- */

/* Returns when `count` calls have come to the barrier of that name; the name can then be used again. A call that ends
 * by its deadline, and a client that is gone, is taken out again. Errors: HMC_INVALID_CONFIG (somebody gave another
 * count). */
HMC_API HMC_CHECKED hmc_status_t hmc_store_barrier(hmc_store_t *store, const char *name, uint32_t count,
                                                   uint64_t timeout_ms);

/* A barrier that brings a piece of `size` bytes of each to all: `all` gets count x size bytes, in the order of `index`
 * (0 .. count - 1). Errors besides the barrier's: HMC_INVALID_CONFIG (another size, an index twice), HMC_OUT_OF_RANGE
 * (count x size over HMC_STORE_GATHER_MAX, a size over HMC_STORE_VALUE_MAX). */
HMC_API HMC_CHECKED hmc_status_t hmc_store_gather(hmc_store_t *store, const char *name, uint32_t count, uint32_t index,
                                                  const void *data, size_t size, void *all, uint64_t timeout_ms);

#ifdef __cplusplus
}
#endif
#endif
