/* The store: keys and values by which processes find each other, count, wait for each other, and notice deaths.
 *
 * One process serves the store (hmc_store_server_start, or the program hmc-store); the others are its clients.
 * Connections are authenticated and encrypted with the secret, as in context.h. A key is a text of 1 to
 * HMC_STORE_KEY_MAX bytes; a value is any bytes, at most HMC_STORE_VALUE_MAX.
 *
 * A client survives a short outage of the store. It reconnects by itself, its calls wait for that until their
 * deadlines, and each call takes effect once, however often it had to be sent. A store that restarts without a journal
 * is empty: clients then put the keys of their leases back. With a journal it has everything it had.
 *
 * Threads: all calls are thread-safe unless they say otherwise. Every call that blocks ends by its deadline:
 * `timeout_ms`, 0 for the client's. After fork() a client is unusable in the child (HMC_UNSUPPORT).
 *
 * Results that all calls on a client share:
 *   HMC_TIMEOUT         no answer in time; the text says whether the store is away
 *   HMC_DENIED          the secrets differ
 *   HMC_INVALID_CONFIG  NULL, or a key or a value that is too long
 *   HMC_NO_MEMORY       no memory is left here, or the store is full */
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

/* Certificates instead of the secret, at both ends or at neither. Texts are copied. Begin with
 * HMC_STORE_CERTIFICATES_INIT. */
typedef struct hmc_store_certificates {
  size_t size;              /* sizeof(hmc_store_certificates_t) */
  const char *authorities;  /* PEM files of those who may sign the other end's certificate, separated by commas */
  const char *certificate;  /* the PEM file of this end's certificate, with its chain */
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
  uint64_t memory_max;  /* bytes of keys and values that are taken; 0: HMC_STORE_MEMORY, 1 GiB */
  uint64_t clients_max; /* 0: HMC_STORE_CLIENTS, 16384 */
  uint64_t grace_ms;    /* how long a client that is gone may take to come back before its leases end; 0:
                           HMC_STORE_GRACE, 1000 */
  const hmc_store_certificates_t *certificates; /* NULL: by the secret */
} hmc_store_server_options_t;

#define HMC_STORE_SERVER_OPTIONS_INIT HMC_SIZED_INIT(hmc_store_server_options_t)

/**
 * Serves a store from a thread of its own. Ownership: the caller's, until hmc_store_server_stop.
 *
 * \param options The options; NULL: the defaults.
 * \param server Gets the server.
 * \return HMC_SUCCESS
 * \return HMC_ADDRESS_IN_USE Somebody else listens there, or another server has the journal.
 * \return HMC_INVALID_CONFIG The address is not this host's, the journal cannot be read or written, or a setting or the
 * secret does not parse.
 * \return HMC_CORRUPT The file is not a journal.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_server_start(const hmc_store_server_options_t *options,
                                                        hmc_store_server_t **server);

/**
 * Disconnects all clients and frees the server. In a forked child it does nothing.
 *
 * \param server The server; NULL is allowed.
 */
HMC_API void hmc_store_server_stop(hmc_store_server_t *server);

/**
 * The port that a server listens on.
 *
 * \param server The server.
 * \return The port.
 */
HMC_API uint16_t hmc_store_server_port(const hmc_store_server_t *server);

/* ---- a client ---------------------------------------------------------------------------------------------------- */

typedef struct hmc_store_options {
  size_t size;                                  /* of this struct: HMC_STORE_OPTIONS_INIT sets it */
  uint64_t timeout_ms;                          /* deadline of calls without their own; 0: HMC_TIMEOUT */
  const hmc_store_certificates_t *certificates; /* NULL: by the secret */
} hmc_store_options_t;

#define HMC_STORE_OPTIONS_INIT HMC_SIZED_INIT(hmc_store_options_t)

/**
 * Connects to a store, and tries again until the store listens or the deadline passes. Ownership: the caller's, until
 * hmc_store_close.
 *
 * \param address "tcp://10.0.0.2:4100", "tcp://[fd00::2]:4100", or either without the scheme; or
 *   "etcd://host:port,host:port/prefix", an etcd cluster (3.4 or later) that keeps the keys below that prefix, "hmc"
 *   without one. It needs libcurl at run time; with certificates its connections are TLS, else they are plain. There a
 *   lease has whole seconds, two at least, and ends by its TTL alone.
 * \param options The options; NULL: the defaults.
 * \param timeout_ms How long to try.
 * \param store Gets the client.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_connect(const char *address, const hmc_store_options_t *options,
                                                   uint64_t timeout_ms, hmc_store_t **store);

/**
 * Ends the leases and watches of a client, disconnects and frees it. Threads: no other call on it may run or follow.
 *
 * \param store The client; NULL is allowed.
 */
HMC_API void hmc_store_close(hmc_store_t *store);

/* ---- keys -------------------------------------------------------------------------------------------------------- */

/**
 * Sets a key.
 *
 * \param store The client.
 * \param key The key.
 * \param value Its value.
 * \param value_size The bytes of the value.
 * \param lease The key belongs to this lease and vanishes with it; NULL: to none.
 * \param timeout_ms How long to wait.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 * \return HMC_STALE The lease is lost.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_set(hmc_store_t *store, const char *key, const void *value,
                                               size_t value_size, hmc_store_lease_t *lease, uint64_t timeout_ms);

/**
 * Reads a key.
 *
 * \param store The client.
 * \param key The key.
 * \param value Gets the value.
 * \param capacity Its size in bytes.
 * \param value_size Gets the value's size.
 * \param timeout_ms How long to wait for the store.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 * \return HMC_NOT_FOUND There is no such key.
 * \return HMC_OUT_OF_RANGE The value is larger than `capacity`; *value_size is its size.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_get(hmc_store_t *store, const char *key, void *value, size_t capacity,
                                               size_t *value_size, uint64_t timeout_ms);

/**
 * Reads a key, and waits until it exists.
 *
 * \param store The client.
 * \param key The key.
 * \param value Gets the value.
 * \param capacity Its size in bytes.
 * \param value_size Gets the value's size.
 * \param timeout_ms How long to wait.
 * \return As hmc_store_get; HMC_TIMEOUT also where the key did not appear in time.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_wait(hmc_store_t *store, const char *key, void *value, size_t capacity,
                                                size_t *value_size, uint64_t timeout_ms);

/**
 * Adds to a counter: a key whose value is a number in decimal. A key that does not exist counts as 0.
 *
 * \param store The client.
 * \param key The key.
 * \param amount What to add.
 * \param result Gets the sum, which wraps around; may be NULL.
 * \param timeout_ms How long to wait.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 * \return HMC_CORRUPT The value is not a number.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_add(hmc_store_t *store, const char *key, int64_t amount, int64_t *result,
                                               uint64_t timeout_ms);

/**
 * Sets a key if its value is the expected one.
 *
 * \param store The client.
 * \param key The key.
 * \param expected The expected value; NULL: the key must not exist.
 * \param expected_size The bytes of the expected value.
 * \param value The new value.
 * \param value_size The bytes of the new value.
 * \param lease As hmc_store_set.
 * \param swapped Gets 1 if the key was set, else 0.
 * \param timeout_ms How long to wait.
 * \return As hmc_store_set.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_compare_swap(hmc_store_t *store, const char *key, const void *expected,
                                                        size_t expected_size, const void *value, size_t value_size,
                                                        hmc_store_lease_t *lease, int *swapped, uint64_t timeout_ms);

/**
 * Removes a key.
 *
 * \param store The client.
 * \param key The key.
 * \param timeout_ms How long to wait.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 * \return HMC_NOT_FOUND There is no such key.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_delete(hmc_store_t *store, const char *key, uint64_t timeout_ms);

/**
 * Gets one key of a list. It must not call the store.
 *
 * \param key The key; valid during the call only.
 * \param value Its value; valid during the call only.
 * \param value_size The bytes of the value.
 * \param user What hmc_store_list got.
 */
typedef void (*hmc_store_list_callback_t)(const char *key, const void *value, size_t value_size, void *user);

/**
 * Lists the keys that begin with a prefix, in the order of their bytes, as they all were at one moment.
 *
 * \param store The client.
 * \param prefix The prefix; "": all keys.
 * \param callback Is called for each key, in the caller's thread.
 * \param user For the callback.
 * \param timeout_ms How long to wait.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_list(hmc_store_t *store, const char *prefix,
                                                hmc_store_list_callback_t callback, void *user, uint64_t timeout_ms);

/* ---- leases ------------------------------------------------------------------------------------------------------ */

/**
 * Makes a lease, which holds keys for as long as its client lives. The keys vanish when the lease is released, when the
 * client has been gone for the server's grace time, or when the store heard nothing from it for the lease's time. The
 * client sends heartbeats by itself. Where the store has lost the lease (an outage, a stopped process), the client
 * makes it again with its keys, unless somebody else has set one of them: then the lease is lost.
 *
 * Ownership: the client's, until hmc_store_lease_release.
 *
 * \param store The client.
 * \param ttl_ms The lease's time in ms, at least 100; 0: HMC_STORE_LEASE.
 * \param timeout_ms How long to wait.
 * \param lease Gets the lease.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_lease_create(hmc_store_t *store, uint64_t ttl_ms, uint64_t timeout_ms,
                                                        hmc_store_lease_t **lease);

/**
 * The time of a lease: after so long without a word from its client its keys vanish, wherever the client is. Threads:
 * any.
 *
 * \param lease The lease.
 * \return Its time in ms; 0 for NULL.
 */
HMC_API uint64_t hmc_store_lease_ttl(const hmc_store_lease_t *lease);

/**
 * Tells whether a lease is still held. Never blocks for long.
 *
 * \param lease The lease.
 * \return HMC_SUCCESS It is.
 * \return HMC_STALE It is lost.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_lease_state(hmc_store_lease_t *lease);

/**
 * Removes a lease and its keys and frees it. Where the store does not answer in time, they end by the lease's time.
 * Threads: no other call may use the lease.
 *
 * \param lease The lease; NULL is allowed.
 * \param timeout_ms How long to wait.
 */
HMC_API void hmc_store_lease_release(hmc_store_lease_t *lease, uint64_t timeout_ms);

/* ---- watches ----------------------------------------------------------------------------------------------------- */

typedef enum hmc_store_event_kind {
  HMC_STORE_PUT = 1,    /* the key has this value now */
  HMC_STORE_DELETE = 2, /* the key is gone; has no value */
  HMC_STORE_SYNCED = 3, /* all keys that existed when the watch began have been reported; has no key */
} hmc_store_event_kind_t;

typedef struct hmc_store_event {
  hmc_store_event_kind_t kind;
  const char *key;
  const void *value;
  size_t value_size;
} hmc_store_event_t;

/**
 * Watches the keys that begin with a prefix. The events are: each key that exists, then HMC_STORE_SYNCED, then every
 * change in order. After an outage only the last of several changes of a key is reported.
 *
 * Ownership: the client's, until hmc_store_watch_stop.
 *
 * \param store The client.
 * \param prefix The prefix; "": all keys.
 * \param timeout_ms How long to wait.
 * \param watch Gets the watch.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_watch_start(hmc_store_t *store, const char *prefix, uint64_t timeout_ms,
                                                       hmc_store_watch_t **watch);

/**
 * Waits for the next event. Threads: one at a time per watch.
 *
 * \param watch The watch.
 * \param event Gets the event; what it points to is valid until the next call on the watch.
 * \param timeout_ms How long to wait.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT No event came in time.
 * \return HMC_CANCELLED hmc_store_watch_interrupt was called.
 * \return HMC_NO_MEMORY The watch has ended: there was no memory for an event.
 * \return HMC_OUT_OF_RANGE The watch has ended: after an outage its keys and values were more than one list takes.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_watch_next(hmc_store_watch_t *watch, hmc_store_event_t *event,
                                                      uint64_t timeout_ms);

/**
 * Ends the wait of the thread that is in hmc_store_watch_next, or of the next one, with HMC_CANCELLED.
 *
 * \param watch The watch; NULL is allowed.
 */
HMC_API void hmc_store_watch_interrupt(hmc_store_watch_t *watch);

/**
 * Ends a watch and frees it. Threads: no other call may use the watch.
 *
 * \param watch The watch; NULL is allowed.
 */
HMC_API void hmc_store_watch_stop(hmc_store_watch_t *watch);

/* ---- meeting ----------------------------------------------------------------------------------------------------- */

/**
 * Returns when `count` calls have come to the barrier of that name; the name can then be used again. A call whose
 * deadline passes, or whose client is gone, no longer counts.
 *
 * \param store The client.
 * \param name The barrier's name.
 * \param count How many calls.
 * \param timeout_ms How long to wait.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 * \return HMC_INVALID_CONFIG Also where somebody gave another count.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_barrier(hmc_store_t *store, const char *name, uint32_t count,
                                                   uint64_t timeout_ms);

/**
 * A barrier that gives a piece of data from each caller to all of them.
 *
 * \param store The client.
 * \param name The barrier's name.
 * \param count How many calls.
 * \param index The place of this caller's piece: 0 to count - 1.
 * \param data The piece.
 * \param size Its bytes, the same for all; at most HMC_STORE_VALUE_MAX.
 * \param all Gets count * size bytes, in the order of `index`.
 * \param timeout_ms How long to wait.
 * \return As hmc_store_barrier; HMC_INVALID_CONFIG also for another size, or an index that is used twice.
 * \return HMC_OUT_OF_RANGE count * size is over HMC_STORE_GATHER_MAX, or the size is over HMC_STORE_VALUE_MAX.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_store_gather(hmc_store_t *store, const char *name, uint32_t count, uint32_t index,
                                                  const void *data, size_t size, void *all, uint64_t timeout_ms);

#ifdef __cplusplus
}
#endif
#endif
