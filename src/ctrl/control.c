/* The control channel: the public calls but connect (dial.c).
 *
 * Invariant: a public call holds `callers` up from begin to end, and destroy waits for zero before it frees anything;
 * before, it ends all that calls can wait for. Locking: see control_state.h. */
#include "control_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- finding links ----------------------------------------------------------------------------------------------- */

/* The link to a rank, counted, once there is one. */
static hmc_status_t find_link(hmc_control_t *control, uint32_t rank, uint64_t deadline, hmci_link_t **link) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&control->lock);
  hmci_entry_t *entry;
  while ((entry = hmci_control_entry(control, rank)) == NULL && status == HMC_SUCCESS) {
    status = hmci_control_wait(control, deadline);
  }
  if (entry != NULL) {
    *link = hmci_link_acquire(entry->link);
    status = HMC_SUCCESS;
  } else if (status == HMC_TIMEOUT) {
    hmci_fail(status, "no link to rank %u came up in time", rank);
  }
  pthread_mutex_unlock(&control->lock);
  return status;
}

/* The link to a rank, counted, if there is one now. */
static hmc_status_t present_link(hmc_control_t *control, uint32_t rank, hmci_link_t **link, bool *is_unix) {
  pthread_mutex_lock(&control->lock);
  const hmci_entry_t *entry = hmci_control_entry(control, rank);
  if (entry != NULL) {
    *link = hmci_link_acquire(entry->link);
    *is_unix = entry->is_unix;
  }
  pthread_mutex_unlock(&control->lock);
  return entry != NULL ? HMC_SUCCESS : hmci_fail(HMC_NOT_FOUND, "there is no link to rank %u", rank);
}

/* ---- creating and destroying ------------------------------------------------------------------------------------- */

static hmc_status_t read_forced(hmci_forced_t *forced) {
  const char *value = getenv("CTRL_TRANSPORT");
  if (value == NULL || value[0] == '\0' || strcasecmp(value, "auto") == 0) {
    *forced = HMCI_FORCED_NOT;
  } else if (strcasecmp(value, "tcp") == 0) {
    *forced = HMCI_FORCED_TCP;
  } else if (strcasecmp(value, "uds") == 0) {
    *forced = HMCI_FORCED_UDS;
  } else {
    return hmci_fail(HMC_INVALID_CONFIG, "CTRL_TRANSPORT=%s: takes tcp, uds or auto", value);
  }
  return HMC_SUCCESS;
}

static void on_farewell(hmci_timer_t *timer) {
  hmc_control_t *control = HMCI_CONTAINER(timer, hmc_control_t, farewell);
  hmci_control_drop_handshakes(control);
  pthread_mutex_lock(&control->lock);
  control->has_left = true;
  pthread_cond_broadcast(&control->changed);
  pthread_mutex_unlock(&control->lock);
}

static void init_state(hmc_control_t *control) {
  pthread_condattr_t attributes;
  control->process = getpid();
  hmci_random(&control->incarnation, sizeof(control->incarnation));
  hmci_list_init(&control->handshakes);
  hmci_list_init(&control->listeners);
  hmci_list_init(&control->dials);
  hmci_list_init(&control->entries);
  for (size_t i = 0; i < HMCI_CONTROL_BUCKETS; i++) {
    hmci_list_init(&control->buckets[i]);
  }
  hmci_timer_init(&control->farewell, on_farewell);
  pthread_mutex_init(&control->lock, NULL);
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&control->changed, &attributes);
  pthread_condattr_destroy(&attributes);
}

static void free_state(hmc_control_t *control) {
  pthread_cond_destroy(&control->changed);
  pthread_mutex_destroy(&control->lock);
  hmci_secret_wipe(&control->secret);
  explicit_bzero(control->settings.secret, sizeof(control->settings.secret));
  free(control);
}

hmc_status_t hmc_control_create(hmc_control_t **created) {
  if (created == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "no place given for the control channel");
  }
  hmc_control_t *control = calloc(1, sizeof(*control));
  if (control == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a control channel");
  }
  init_state(control);
  hmc_status_t status = hmci_settings_read(&control->settings);
  if (status != HMC_SUCCESS) {
    goto err_free;
  }
  status = read_forced(&control->forced);
  if (status != HMC_SUCCESS) {
    goto err_free;
  }
  status = hmci_secret_load(&control->settings, &control->secret);
  if (status != HMC_SUCCESS) {
    goto err_free;
  }
  status = hmci_loop_create(0, "hmc-control", &control->loop);
  if (status != HMC_SUCCESS) {
    goto err_free;
  }
  *created = control;
  return HMC_SUCCESS;

err_free:
  free_state(control);
  return status;
}

/* Ends everything that a public call can wait for, and waits until all of them have left. */
static void turn_out_callers(hmc_control_t *control) {
  pthread_mutex_lock(&control->lock);
  control->closing = true;
  pthread_cond_broadcast(&control->changed);
  for (hmci_list_t *at = control->entries.next; at != &control->entries; at = at->next) {
    hmci_link_end(HMCI_CONTAINER(at, hmci_entry_t, order)->link, HMC_CANCELLED, "the control channel was destroyed");
  }
  for (hmci_list_t *at = control->dials.next; at != &control->dials; at = at->next) {
    int descriptor = HMCI_CONTAINER(at, hmci_dial_t, member)->descriptor;
    if (descriptor >= 0) {
      shutdown(descriptor, SHUT_RDWR);
    }
  }
  while (control->callers > 0) {
    pthread_cond_wait(&control->changed, &control->lock);
  }
  pthread_mutex_unlock(&control->lock);
}

void hmc_control_destroy(hmc_control_t *control) {
  if (control == NULL || getpid() != control->process) {
    return; /* after fork() nothing of it is the child's: its threads and its streams are the parent's */
  }
  turn_out_callers(control);
  hmci_control_remove_listener(control, NULL);
  hmci_loop_set_timer(control->loop, &control->farewell, 0);
  pthread_mutex_lock(&control->lock);
  while (!control->has_left) {
    pthread_cond_wait(&control->changed, &control->lock);
  }
  pthread_mutex_unlock(&control->lock);
  while (!hmci_list_is_empty(&control->entries)) {
    hmci_link_release(hmci_control_remove_entry(HMCI_CONTAINER(control->entries.next, hmci_entry_t, order)));
  }
  hmci_loop_destroy(control->loop);
  free_state(control);
}

/* ---- listening --------------------------------------------------------------------------------------------------- */

static hmc_status_t listen_unix(hmc_control_t *control, const char *path, hmci_listener_t **listener) {
  int descriptor;
  hmc_status_t status = hmci_socket_listen_unix(path, &descriptor);
  if (status != HMC_SUCCESS) {
    return status;
  }
  bool is_file = path[0] != '@';
  status = hmci_control_add_listener(control, descriptor, is_file ? path : NULL, listener);
  if (status != HMC_SUCCESS) {
    close(descriptor);
    if (is_file) {
      unlink(path);
    }
  }
  return status;
}

static hmc_status_t listen_tcp(hmc_control_t *control, const char *ip, uint16_t port, uint16_t *bound_port) {
  int descriptor;
  uint16_t bound;
  hmci_listener_t *listener;
  hmc_status_t status = hmci_socket_listen_tcp(ip, port, &descriptor, &bound);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = hmci_control_add_listener(control, descriptor, NULL, &listener);
  if (status != HMC_SUCCESS) {
    close(descriptor);
    return status;
  }
  if (bound_port != NULL) {
    *bound_port = bound;
  }
  return HMC_SUCCESS;
}

/* The UNIX socket comes first, so that who finds the TCP port finds it too. */
static hmc_status_t listen_both(hmc_control_t *control, const char *ip, uint16_t port, const char *path,
                                uint16_t *bound_port) {
  hmci_listener_t *by_path = NULL;
  hmc_status_t status = path != NULL ? listen_unix(control, path, &by_path) : HMC_SUCCESS;
  if (status == HMC_SUCCESS && ip != NULL) {
    status = listen_tcp(control, ip, port, bound_port);
    if (status != HMC_SUCCESS && by_path != NULL) {
      hmci_control_remove_listener(control, by_path);
    }
  }
  return status;
}

hmc_status_t hmc_control_listen(hmc_control_t *control, const char *ip, uint16_t port, const char *uds_path,
                                uint16_t *bound_port) {
  const char *at_ip = ip != NULL && ip[0] != '\0' ? ip : NULL;
  const char *at_path = uds_path != NULL && uds_path[0] != '\0' ? uds_path : NULL;
  hmc_status_t status = hmci_control_enter(control);
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (at_ip == NULL && at_path == NULL) {
    status = hmci_fail(HMC_INVALID_CONFIG, "neither an IP address nor the path of a UNIX socket given to listen on");
  } else {
    status = listen_both(control, at_ip, port, at_path, bound_port);
  }
  hmci_control_leave(control);
  return status;
}

void hmc_control_stop_listening(hmc_control_t *control) {
  if (control != NULL && hmci_control_enter(control) == HMC_SUCCESS) {
    hmci_control_remove_listener(control, NULL);
    hmci_control_leave(control);
  }
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_control_send(hmc_control_t *control, uint32_t peer_rank, uint16_t type, const void *data, size_t size,
                              uint64_t timeout_ms) {
  hmci_link_t *link = NULL;
  hmc_status_t status = hmci_control_enter(control);
  if (status != HMC_SUCCESS) {
    return status;
  }
  uint64_t deadline = hmci_control_deadline(control, timeout_ms);
  if (size > HMC_CONTROL_MESSAGE_MAX) {
    status = hmci_fail(HMC_OUT_OF_RANGE, "a message of %zu B to rank %u; at most %u B go in one", size, peer_rank,
                       HMC_CONTROL_MESSAGE_MAX);
  } else if (data == NULL && size > 0) {
    status = hmci_fail(HMC_INVALID_CONFIG, "no data given for a message of %zu B to rank %u", size, peer_rank);
  }
  if (status != HMC_SUCCESS) {
    goto out;
  }
  do { /* once more where a newer link took the place of the one that was found */
    status = find_link(control, peer_rank, deadline, &link);
    if (status == HMC_SUCCESS) {
      status = hmci_link_send(link, type, data, size, deadline);
      hmci_link_release(link);
    }
  } while (status == HMC_STALE);
out:
  hmci_control_leave(control);
  return status;
}

static hmc_status_t receive(hmc_control_t *control, uint32_t rank, const hmci_link_wish_t *wish, uint16_t *type,
                            void *data, size_t capacity, size_t *size, uint64_t timeout_ms) {
  hmci_link_t *link = NULL;
  hmc_status_t status = hmci_control_enter(control);
  if (status != HMC_SUCCESS) {
    return status;
  }
  uint64_t deadline = hmci_control_deadline(control, timeout_ms);
  if (data == NULL && capacity > 0) {
    status = hmci_fail(HMC_INVALID_CONFIG, "no room given for a message from rank %u", rank);
    goto out;
  }
  do {
    status = find_link(control, rank, deadline, &link);
    if (status == HMC_SUCCESS) {
      status = hmci_link_receive(link, wish, type, data, capacity, size, deadline);
      hmci_link_release(link);
    }
  } while (status == HMC_STALE);
out:
  hmci_control_leave(control);
  return status;
}

hmc_status_t hmc_control_receive(hmc_control_t *control, uint32_t peer_rank, uint16_t *type, void *data,
                                 size_t capacity, size_t *size, uint64_t timeout_ms) {
  const hmci_link_wish_t anything = {.typed = false};
  return receive(control, peer_rank, &anything, type, data, capacity, size, timeout_ms);
}

static hmc_status_t receive_typed(hmc_control_t *control, uint32_t rank, uint16_t type, void *data, size_t size,
                                  uint64_t timeout_ms) {
  const hmci_link_wish_t wish = {.typed = true, .type = type, .size = size};
  return receive(control, rank, &wish, NULL, data, size, NULL, timeout_ms);
}

hmc_status_t hmc_control_send_int(hmc_control_t *control, uint32_t peer_rank, int32_t value, uint64_t timeout_ms) {
  uint8_t bytes[4];
  hmci_store32(bytes, (uint32_t)value);
  return hmc_control_send(control, peer_rank, HMC_CONTROL_INT, bytes, sizeof(bytes), timeout_ms);
}

hmc_status_t hmc_control_receive_int(hmc_control_t *control, uint32_t peer_rank, int32_t *value, uint64_t timeout_ms) {
  uint8_t bytes[4];
  if (value == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "no place given for a value from rank %u", peer_rank);
  }
  hmc_status_t status = receive_typed(control, peer_rank, HMC_CONTROL_INT, bytes, sizeof(bytes), timeout_ms);
  if (status == HMC_SUCCESS) {
    *value = (int32_t)hmci_load32(bytes);
  }
  return status;
}

hmc_status_t hmc_control_send_u64(hmc_control_t *control, uint32_t peer_rank, uint64_t value, uint64_t timeout_ms) {
  uint8_t bytes[8];
  hmci_store64(bytes, value);
  return hmc_control_send(control, peer_rank, HMC_CONTROL_U64, bytes, sizeof(bytes), timeout_ms);
}

hmc_status_t hmc_control_receive_u64(hmc_control_t *control, uint32_t peer_rank, uint64_t *value, uint64_t timeout_ms) {
  uint8_t bytes[8];
  if (value == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "no place given for a value from rank %u", peer_rank);
  }
  hmc_status_t status = receive_typed(control, peer_rank, HMC_CONTROL_U64, bytes, sizeof(bytes), timeout_ms);
  if (status == HMC_SUCCESS) {
    *value = hmci_load64(bytes);
  }
  return status;
}

hmc_status_t hmc_control_send_struct(hmc_control_t *control, uint32_t peer_rank, const void *object, size_t size,
                                     uint64_t timeout_ms) {
  return hmc_control_send(control, peer_rank, HMC_CONTROL_STRUCT, object, size, timeout_ms);
}

hmc_status_t hmc_control_receive_struct(hmc_control_t *control, uint32_t peer_rank, void *object, size_t size,
                                        uint64_t timeout_ms) {
  return receive_typed(control, peer_rank, HMC_CONTROL_STRUCT, object, size, timeout_ms);
}

/* ---- about links ------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_control_transport(hmc_control_t *control, uint32_t peer_rank, const char **transport) {
  hmci_link_t *link = NULL;
  bool is_unix = false;
  hmc_status_t status = hmci_control_enter(control);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = transport == NULL ? hmci_fail(HMC_INVALID_CONFIG, "no place given for the transport's name")
                             : present_link(control, peer_rank, &link, &is_unix);
  if (status == HMC_SUCCESS) {
    status = hmci_link_state(link);
    hmci_link_release(link);
  }
  if (status == HMC_SUCCESS) {
    *transport = is_unix ? "uds" : "tcp";
  }
  hmci_control_leave(control);
  return status;
}

hmc_status_t hmc_control_socket(hmc_control_t *control, uint32_t peer_rank, int *descriptor) {
  hmci_link_t *link = NULL;
  bool is_unix;
  hmc_status_t status = hmci_control_enter(control);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = descriptor == NULL ? hmci_fail(HMC_INVALID_CONFIG, "no place given for the descriptor")
                              : present_link(control, peer_rank, &link, &is_unix);
  if (status == HMC_SUCCESS) {
    status = hmci_link_descriptor(link, descriptor);
    hmci_link_release(link);
  }
  hmci_control_leave(control);
  return status;
}

/* With the lock held: the oldest entry that goes with the address; one that is lost only where there is no other. */
static const hmci_entry_t *find_entry(hmc_control_t *control, const char *plain, bool is_local) {
  const hmci_entry_t *lost = NULL;
  for (hmci_list_t *at = control->entries.next; at != &control->entries; at = at->next) {
    const hmci_entry_t *entry = HMCI_CONTAINER(at, hmci_entry_t, order);
    if (strcmp(entry->ip, plain) != 0 && !(entry->is_unix && is_local)) {
      continue;
    }
    if (hmci_link_state(entry->link) == HMC_SUCCESS) {
      return entry;
    }
    lost = lost == NULL ? entry : lost;
  }
  return lost;
}

hmc_status_t hmc_control_find(hmc_control_t *control, const char *ip, uint64_t timeout_ms, uint32_t *rank) {
  char plain[INET6_ADDRSTRLEN];
  const hmci_entry_t *entry;
  hmc_status_t status = hmci_control_enter(control);
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (ip == NULL || ip[0] == '\0' || rank == NULL) {
    status = hmci_fail(HMC_INVALID_CONFIG, "no IP address, or no place for the rank, given");
    goto out;
  }
  uint64_t deadline = hmci_control_deadline(control, timeout_ms);
  bool is_local = hmci_socket_is_local(ip, deadline); /* UNIX sockets come from this host, by whatever address it has */
  hmci_control_plain_ip(ip, plain);
  pthread_mutex_lock(&control->lock);
  while ((entry = find_entry(control, plain, is_local)) == NULL && status == HMC_SUCCESS) {
    status = hmci_control_wait(control, deadline);
  }
  if (entry != NULL) {
    *rank = entry->rank;
    status = HMC_SUCCESS;
  } else if (status == HMC_TIMEOUT) {
    hmci_fail(status, "no link from or to %s came up in time", ip);
  }
  pthread_mutex_unlock(&control->lock);
out:
  hmci_control_leave(control);
  return status;
}

void hmc_control_close(hmc_control_t *control, uint32_t peer_rank) {
  if (control == NULL || hmci_control_enter(control) != HMC_SUCCESS) {
    return;
  }
  hmci_link_t *link = NULL;
  pthread_mutex_lock(&control->lock);
  hmci_entry_t *entry = hmci_control_entry(control, peer_rank);
  if (entry != NULL) {
    link = hmci_control_remove_entry(entry);
    pthread_cond_broadcast(&control->changed);
  }
  pthread_mutex_unlock(&control->lock);
  if (link != NULL) {
    hmci_link_end(link, HMC_PEER_LOST, "the link was closed at this end");
    hmci_link_release(link);
  }
  hmci_control_leave(control);
}

hmc_status_t hmc_control_uds_path(const char *directory, uint32_t rank, char *path, size_t size) {
  char made[sizeof(((struct sockaddr_un *)0)->sun_path)];
  if (directory == NULL || directory[0] == '\0' || path == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "no directory, or no place for the path, given");
  }
  size_t length = strlen(directory);
  bool ends_in_slash = directory[length - 1] == '/';
  int needed = snprintf(made, sizeof(made), "%s%shmc-ctrl-%u-%u.sock", directory, ends_in_slash ? "" : "/",
                        (unsigned)geteuid(), rank);
  if (needed < 0 || (size_t)needed >= sizeof(made) || (size_t)needed >= size) {
    return hmci_fail(
        HMC_OUT_OF_RANGE,
        "the socket path of rank %u in %s has %d characters; there is room for %zu, and the system takes %zu", rank,
        directory, needed, size > 0 ? size - 1 : 0, sizeof(made) - 1);
  }
  memcpy(path, made, (size_t)needed + 1);
  return HMC_SUCCESS;
}
