/* SMEM: everybody's memory as one pool. What its three parts share: set-up, texts of errors, log, the store's TLS.
 *
 * The parts are BM (smem_bm.h: a pool of host and device memory under global addresses), SHM (smem_shm.h: symmetric
 * objects with barrier and allgather) and TRANS (smem_trans.h: transfers to memory that a peer registered). Names,
 * values and return codes are those of MemFabric Hybrid, in all its generations.
 *
 * Calls that return int32_t answer SM_OK (0) or another code of SMEM_ERROR_LIST, which is below 0; smem_get_last_err_msg then
 * has a text with the cause and the remedy. Threads: any, unless a comment says otherwise. */
#ifndef SMEM_SMEM_H
#define SMEM_SMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SMEM_API __attribute__((visibility("default")))
#else
#define SMEM_API
#endif

#define SMEM_WORLD_SIZE_MAX 1024U
#define SMEM_INVALID_DEV_ID (-1)

/* Flags of copies. */
#define ASYNC_COPY_FLAG (1UL << 0)  /* started only: smem_bm_wait waits for it */
#define COPY_EXTEND_FLAG (1UL << 1) /* taken; every copy is of that sort here */

/* X(name, value, what it means) */
#define SMEM_ERROR_LIST(X)                                                                                             \
  X(OK, 0, "success")                                                                                                  \
  X(ERROR, -1, "it failed")                                                                                            \
  X(INVALID_PARAM, -2000, "an argument is not taken")                                                                  \
  X(MALLOC_FAILED, -2001, "no memory")                                                                                 \
  X(NEW_OBJECT_FAILED, -2002, "an object could not be made")                                                           \
  X(NOT_STARTED, -2003, "not started")                                                                                 \
  X(TIMEOUT, -2004, "the deadline passed")                                                                             \
  X(REPEAT_CALL, -2005, "called a second time")                                                                        \
  X(DUPLICATED_OBJECT, -2006, "another has that name or rank")                                                         \
  X(OBJECT_NOT_EXISTS, -2007, "there is no such object, or no such member any more")                                   \
  X(NOT_INITIALIZED, -2008, "not initialised")                                                                         \
  X(RESOURCE_IN_USE, -2009, "in use")                                                                                  \
  X(RECONNECT, -2010, "the connection was lost and is made again")                                                     \
  X(GET_OBJECT_FAILED, -2011, "an object could not be read")

typedef enum {
#define SMEM_ERROR_ENUM(name, value, text) SM_##name = value,
  SMEM_ERROR_LIST(SMEM_ERROR_ENUM)
#undef SMEM_ERROR_ENUM
} smem_error_t;

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Reads the settings.
 *
 * \param flags None are known: 0.
 * \return SM_OK
 */
SMEM_API int32_t smem_init(uint32_t flags);

/**
 * Ends what smem_init began: the log goes where it went before smem_set_extern_logger. The parts have uninit calls of
 * their own, which come before.
 */
SMEM_API void smem_uninit(void);

/**
 * Sends log lines to a function from now on.
 *
 * \param func The function; `level` is 0 debug, 1 info, 2 warning or 3 error.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL.
 */
SMEM_API int32_t smem_set_extern_logger(void (*func)(int level, const char *msg));

/**
 * Sets what is logged.
 *
 * \param level 0 debug, 1 info, 2 warning or 3 error, and what is graver.
 * \return SM_OK
 * \return SM_INVALID_PARAM Another value.
 */
SMEM_API int32_t smem_set_log_level(int level);

/**
 * The text of this thread's last call that failed.
 *
 * \return The text, or "". It is the thread's, until its next failing call.
 */
SMEM_API const char *smem_get_last_err_msg(void);

/**
 * As smem_get_last_err_msg, which returns "" from then on.
 *
 * \return The text, or "".
 */
SMEM_API const char *smem_get_and_clear_last_err_msg(void);

/**
 * For languages whose programs may be interrupted (Ctrl-C), such as Python: its packages make the calls that wait for
 * others in a thread of their own. Once `*asked` is not 0, the calls of this thread that wait for the store or for
 * another member end soon, and fail; what they had begun is undone. Never blocks.
 *
 * \param asked A word that another thread changes atomically. It stays the caller's, and valid until the thread ends
 *   or calls this with NULL, which is the default and means that no call is interrupted.
 */
SMEM_API void hmc_smem_interruptible(const int32_t *asked);

/**
 * Sets what smem_get_last_err_msg returns in this thread: the text of a call that another thread made for it.
 *
 * \param text The text; copied.
 */
SMEM_API void hmc_smem_set_last_err_msg(const char *text);

/**
 * Serves a store in this process, until it ends.
 *
 * \param storeUrl Where: "tcp://ip:port" with a port from 1025 on, "tcp://[ipv6]:port" or "tcp6://[ipv6]:port".
 * \return SM_OK
 * \return SM_INVALID_PARAM The URL.
 * \return SM_ERROR It cannot listen there.
 */
SMEM_API int32_t smem_create_config_store(const char *storeUrl);

/* ---- TLS of the store -------------------------------------------------------------------------------------------- */

/**
 * Chooses how connections to the store are authenticated; call it before a store is served or joined. They are always
 * authenticated and encrypted: by the job's secret (HMC_SECRET, HMC_SECRET_FILE, ~/.hmc/secret) unless this call
 * names certificates.
 *
 * \param enable false turns certificates off again, not the secret.
 * \param tls_info "key: value;" pairs with the keys tlsCaPath, tlsCert, tlsCaFile (needed), tlsCrlPath, tlsCrlFile
 *   and packagePath (taken and not used); lists are separated by commas.
 * \param tls_info_len Its bytes.
 * \return SM_OK
 * \return SM_INVALID_PARAM The text, or a file that cannot be used.
 */
SMEM_API int32_t smem_set_conf_store_tls(bool enable, const char *tls_info, const uint32_t tls_info_len);

/**
 * As smem_set_conf_store_tls, with the private key in a file and its password as it is. smem_set_ssl_option of the
 * first generation uses it.
 *
 * \param enable As there.
 * \param tls_info As there.
 * \param key_file The private key's file.
 * \param key_password Its password; NULL: none.
 * \return As smem_set_conf_store_tls.
 */
SMEM_API int32_t smem_set_conf_store_tls_files(bool enable, const char *tls_info, const char *key_file,
                                               const char *key_password);

/* Turns the cipher text of the private key's password into plain text: at most *plainTextLen bytes to `plainText`, and
 * how many to *plainTextLen. Returns 0, or fails. */
#ifdef __cplusplus
typedef int (*smem_decrypt_handler)(const char *cipherText, size_t cipherTextLen, char *plainText,
                                    size_t &plainTextLen);
#else
typedef int (*smem_decrypt_handler)(const char *cipherText, size_t cipherTextLen, char *plainText,
                                    size_t *plainTextLen);
#endif

/**
 * Gives the private key that goes with tlsCert, and its password. All is copied.
 *
 * \param tls_pk The key in PEM form.
 * \param tls_pk_len Its bytes.
 * \param tls_pk_pw The password.
 * \param tls_pk_pw_len Its bytes.
 * \param h Decrypts the password when it is needed; NULL: it is plain text.
 * \return SM_OK
 * \return SM_INVALID_PARAM The key or the password cannot be used.
 */
SMEM_API int32_t smem_set_config_store_tls_key(const char *tls_pk, const uint32_t tls_pk_len, const char *tls_pk_pw,
                                               const uint32_t tls_pk_pw_len, const smem_decrypt_handler h);

#ifdef __cplusplus
}
#endif

#if defined(__cplusplus) && !defined(SMEM_NO_SECURITY)
#include "smem_security.h"
#endif

#endif
