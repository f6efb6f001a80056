/* Connecting, opening and finding as requests; finding regions by address; regions that overlap. */
#include "proxy.h"
#include "suite.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#define FAR_SIZE 4096u

/* A port of this host that takes connections and never answers: the greeting hangs. */
static int silent_listener(uint16_t *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(listener >= 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
  assert_int_equal(listen(listener, 16), 0);
  assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
  *port = ntohs(address.sin_port);
  return listener;
}

static hmc_event_t next_completion(hmc_context_t *context) {
  hmc_event_t event = HMC_EVENT_INIT;
  size_t count = 0;
  assert_success(hmc_poll_kinds(context, HMC_EVENT_BIT(HMC_EVENT_COMPLETION), &event, 1, &count, PATIENCE_MS));
  return event;
}

/* A put and a get of one word through what was set up. */
static void use(context_pair_t *pair, hmc_remote_t *remote, uint64_t offset, const test_buffer_t *place) {
  test_buffer_t local = near_make(pair, 64, false);
  assert_success(hmc_put(local.region, 0, remote, offset, 8));
  word_store(place, offset, 4711);
  assert_success(hmc_get(local.region, 8, remote, offset, 8));
  uint64_t word = 0;
  test_buffer_load(&local, 8, &word, sizeof word);
  assert_int_equal(word, 4711);
  test_buffer_close(&local);
}

void setup_connects_and_opens(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = FAR_SIZE});
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  hmc_request_t *request = NULL;
  int mark = 0;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.flags = HMC_OPERATION_EVENT;
  options.user = &mark;
  assert_success(hmc_context_connect_nb(pair->here, "127.0.0.1", pair->port, stamp.type, &options, &peer, &request));
  hmc_event_t event = next_completion(pair->here);
  assert_ptr_equal(event.request, request);
  assert_ptr_equal(event.user, &mark);
  assert_int_equal(event.status, HMC_SUCCESS);
  assert_non_null(peer);
  assert_ptr_equal(event.peer, peer);
  assert_success(hmc_request_wait(request));
  hmc_request_free(request); /* the peer stays */
  assert_success(hmc_remote_open_nb(peer, "far", &options, &remote, &request));
  event = next_completion(pair->here);
  assert_ptr_equal(event.remote, remote);
  assert_success(finish(request));
  use(pair, remote, 128, &far.place);
  hmc_peer_close(peer);
  far_close(&far);
}

static bool has_data_connections(void) {
  return stamp_is("tcp") || stamp_is("tcp_streams") || stamp_is("tcp_encrypted");
}

/* Connects through a proxy, moves some bytes, and parts again. */
static void use_once(context_pair_t *pair, uint16_t port, const far_t *far) {
  hmc_peer_t *peer = NULL, *back = NULL;
  hmc_remote_t *remote = NULL;
  assert_success(hmc_context_connect(pair->here, "127.0.0.1", port, stamp.type, 0, &peer));
  assert_success(hmc_context_accept(pair->there, 0, &back));
  assert_success(hmc_remote_open(peer, "far", 0, &remote));
  use(pair, remote, 128, &far->place);
  hmc_peer_close(peer);
  hmc_peer_close(back);
}

/* A listener that hangs up on a data connection, as one does that a dialler kept waiting for too long, is dialled again;
 * one that always does is not dialled for ever. */
void setup_dials_again(void **state) {
  if (!has_data_connections()) return;
  context_pair_t *pair = *state;
  uint16_t port;
  hmc_peer_t *peer = NULL;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = FAR_SIZE});
  proxy_t *proxy = proxy_start(pair->port, &port);
  proxy_hang_up(proxy, 1, 2);
  use_once(pair, port, &far);
  proxy_hang_up(proxy, 1, UINT32_MAX);
  assert_status(hmc_context_connect(pair->here, "127.0.0.1", port, stamp.type, 0, &peer), HMC_PEER_LOST);
  assert_error_names("data connection");
  proxy_stop(proxy);
  far_close(&far);
}

/* On a host that is busy without end a listener gives up again and again, each time after a while: on data connections,
 * and on the whole peer, whose data connections it does not know then. The dialler's deadline alone ends that. */
void setup_dials_until_its_deadline(void **state) {
  enum { WHILE_MS = 700, TIMES = 5 };
  if (!has_data_connections()) return;
  context_pair_t *pair = *state;
  uint16_t port;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = FAR_SIZE});
  proxy_t *proxy = proxy_start(pair->port, &port);
  for (int whole = 0; whole < 2; whole++) {
    proxy_hang_up_late(proxy, 1, whole ? 1 : TIMES, whole ? 0 : WHILE_MS, whole);
    use_once(pair, port, &far);
  }
  proxy_stop(proxy);
  far_close(&far);
}

static void note(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request;
  *(_Atomic int *)user = 1 + (int)status;
}

/* Many at once: more than there are threads for. */
void setup_of_many_at_once(void **state) {
  enum { MANY = 80 };
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = FAR_SIZE});
  hmc_request_t *requests[MANY];
  hmc_remote_t *remotes[MANY] = {NULL};
  _Atomic int notes[MANY] = {0};
  for (int i = 0; i < MANY; i++) {
    hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
    options.callback = note;
    options.user = (void *)&notes[i];
    assert_success(hmc_remote_open_nb(pair->peer, i % 2 ? "far" : "nowhere", &options, &remotes[i], &requests[i]));
  }
  for (int i = 0; i < MANY; i++) assert_int_equal(hmc_request_wait(requests[i]), i % 2 ? HMC_SUCCESS : HMC_NOT_FOUND);
  for (int i = 0; i < MANY; i++) {
    hmc_request_free(requests[i]);
    assert_int_equal(notes[i], 1 + (i % 2 ? HMC_SUCCESS : HMC_NOT_FOUND));
    assert_int_equal(remotes[i] != NULL, i % 2);
    hmc_remote_close(remotes[i]);
  }
  far_close(&far);
}

/* To somebody who does not answer: by cancel, by deadline, by freeing, with the context. */
void setup_can_be_ended(void **state) {
  context_pair_t *pair = *state;
  uint16_t port;
  int listener = silent_listener(&port);
  hmc_peer_t *peer = NULL;
  hmc_request_t *request = NULL;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.timeout_ms = 600000;
  assert_success(hmc_context_connect_nb(pair->here, "127.0.0.1", port, stamp.type, &options, &peer, &request));
  assert_int_equal(hmc_request_test(request), HMC_IN_PROGRESS);
  assert_status(hmc_request_cancel(request), HMC_CANCELLED);
  assert_error_names("127.0.0.1");
  assert_null(peer);
  hmc_request_free(request);

  options.timeout_ms = 50;
  assert_success(hmc_context_connect_nb(pair->here, "127.0.0.1", port, stamp.type, &options, &peer, &request));
  assert_status(finish(request), HMC_TIMEOUT);
  options.timeout_ms = HMC_NO_WAIT;
  assert_success(hmc_context_connect_nb(pair->here, "127.0.0.1", port, stamp.type, &options, &peer, &request));
  assert_status(finish(request), HMC_TIMEOUT);
  assert_null(peer);

  options.timeout_ms = 600000;
  hmc_context_t *third = NULL;
  assert_success(hmc_context_create(NULL, &third));
  for (int i = 0; i < 70; i++) /* more than run at a time */
    assert_success(hmc_context_connect_nb(third, "127.0.0.1", port, stamp.type, &options, &peer, &request));
  hmc_context_destroy(third); /* at once */
  assert_null(peer);
  close(listener);
}

/* The owner is stopped: the question is not answered, and the peer closes. */
void setup_ends_with_its_peer(void **state) {
  context_pair_t *pair = *state;
  distant_t distant;
  distant_start(&distant, pair);
  distant_stop(&distant);
  hmc_request_t *requests[4];
  hmc_remote_t *remotes[4] = {NULL};
  uint64_t offset = 0;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.timeout_ms = 600000;
  for (int i = 0; i < 3; i++)
    assert_success(hmc_remote_open_nb(distant.peer, "distant", &options, &remotes[i], &requests[i]));
  assert_success(hmc_remote_find_nb(distant.peer, 4096, 1, &options, &remotes[3], &offset, &requests[3]));
  assert_status(hmc_request_cancel(requests[0]), HMC_CANCELLED);
  hmc_peer_close(distant.peer);
  for (int i = 0; i < 4; i++) {
    assert_status(finish(requests[i]), HMC_CANCELLED);
    assert_null(remotes[i]);
  }
  distant_continue(&distant);
  target_kill(&distant.target);
}

/* Starts, cancels, frees and closes at any moment; what succeeded can be used. */
void setup_ended_at_any_moment(void **state) {
  enum { ROUNDS = 60 };
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = FAR_SIZE});
  uint64_t numbers = 11;
  for (int i = 0; i < ROUNDS; i++) {
    hmc_peer_t *peer = NULL;
    hmc_remote_t *remote = NULL;
    hmc_request_t *connecting = NULL, *opening = NULL;
    assert_success(hmc_context_connect_nb(pair->here, "127.0.0.1", pair->port, stamp.type, NULL, &peer, &connecting));
    if (draw(&numbers) % 3 == 0) {
      spin_ns(draw(&numbers) % 3000000);
      hmc_status_t status = hmc_request_cancel(connecting);
      assert_true(status == HMC_CANCELLED || status == HMC_SUCCESS);
      assert_true((status == HMC_SUCCESS) == (peer != NULL));
    } else {
      assert_success(hmc_request_wait(connecting));
    }
    hmc_request_free(connecting);
    if (!peer) continue;
    assert_success(hmc_remote_open_nb(peer, "far", NULL, &remote, &opening));
    if (draw(&numbers) % 3 == 0) {
      spin_ns(draw(&numbers) % 300000);
    } else {
      assert_success(hmc_request_wait(opening));
      use(pair, remote, 64, &far.place);
    }
    hmc_peer_close(peer); /* and what opens there */
    hmc_status_t status = finish(opening);
    assert_true(status == HMC_CANCELLED || status == HMC_SUCCESS);
  }
  far_close(&far);
}

void setup_refuses(void **state) {
  context_pair_t *pair = *state;
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  hmc_request_t *request = NULL;
  uint8_t byte = 1;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  assert_status(hmc_context_connect_nb(pair->here, NULL, 1, stamp.type, NULL, &peer, &request), HMC_INVALID_CONFIG);
  assert_status(hmc_context_connect_nb(pair->here, "127.0.0.1", 1, (hmc_connection_type_t)77, NULL, &peer, &request),
                HMC_INVALID_CONFIG);
  options.notification = &byte;
  options.notification_size = 1;
  assert_status(hmc_context_connect_nb(pair->here, "127.0.0.1", 1, stamp.type, &options, &peer, &request),
                HMC_INVALID_CONFIG);
  assert_status(hmc_remote_open_nb(pair->peer, "far", &options, &remote, &request), HMC_INVALID_CONFIG);
  assert_status(hmc_remote_open_nb(pair->peer, "", NULL, &remote, &request), HMC_NOT_FOUND);
  assert_null(request);
  /* Nobody listens there: that is the request's own status. */
  assert_success(hmc_context_connect_nb(pair->here, "127.0.0.1", 1, stamp.type, NULL, &peer, &request));
  assert_status(finish(request), HMC_NOT_FOUND);
  assert_error_names("127.0.0.1:1");
}

/* ---- by address -------------------------------------------------------------------------------------------------- */

static uint64_t address_of(const test_buffer_t *place) {
  return (uint64_t)(uintptr_t)hmc_region_pointer(place->region);
}

void find_by_address(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = FAR_SIZE});
  far_t own = far_make(pair, (far_options_t){.name = "own", .size = FAR_SIZE, .registered = true});
  test_buffer_t hidden;
  hmc_remote_t *remote = NULL, *again = NULL;
  uint64_t offset = 77, base = address_of(&far.place);
  assert_success(test_buffer_open(&hidden, pair->there, stamp.far, FAR_SIZE, NULL, 0, false));
  assert_success(hmc_remote_find(pair->peer, base + 1024, 64, 0, &remote, &offset));
  assert_int_equal(offset, 1024);
  assert_int_equal(hmc_remote_size(remote), FAR_SIZE);
  use(pair, remote, offset, &far.place);
  assert_success(hmc_remote_find(pair->peer, base, FAR_SIZE, 0, &again, &offset));
  assert_ptr_equal(again, remote); /* known: nobody was asked */
  assert_int_equal(offset, 0);
  hmc_remote_close(again);
  use(pair, remote, 0, &far.place); /* the other reference holds */
  hmc_remote_close(remote);

  hmc_request_t *request = NULL;
  assert_success(hmc_remote_find_nb(pair->peer, address_of(&own.place) + 8, 8, NULL, &remote, &offset, &request));
  assert_success(finish(request));
  assert_int_equal(offset, 8);
  use(pair, remote, 8, &own.place);
  hmc_remote_close(remote);

  remote = NULL;
  assert_status(hmc_remote_find(pair->peer, base, FAR_SIZE + 1, 0, &remote, &offset), HMC_NOT_FOUND);
  assert_status(hmc_remote_find(pair->peer, address_of(&hidden), 1, 0, &remote, &offset), HMC_NOT_FOUND);
  assert_status(hmc_remote_find(pair->peer, base, 0, 0, &remote, &offset), HMC_INVALID_CONFIG);
  assert_status(hmc_remote_find(pair->peer, UINT64_MAX, 2, 0, &remote, &offset), HMC_INVALID_CONFIG);
  assert_status(hmc_remote_find(NULL, base, 1, 0, &remote, &offset), HMC_INVALID_CONFIG);
  assert_null(remote);
  test_buffer_close(&hidden);
  far_close(&own);
  far_close(&far);
}

/* A region that was closed is asked for again, once an operation has come back. */
void find_asks_again(void **state) {
  context_pair_t *pair = *state;
  hmc_remote_t *first = NULL, *second = NULL;
  uint64_t offset = 0;
  test_buffer_t local = near_make(pair, 64, false);
  uint8_t *memory = NULL;
  hmc_region_t *region = NULL;
  assert_success(hmc_memory_allocate(stamp.far, FAR_SIZE, (void **)&memory));
  uint64_t address = (uint64_t)(uintptr_t)memory;
  assert_success(hmc_region_register(pair->there, memory, FAR_SIZE, "first", HMC_REMOTE_ALL, &region));
  assert_success(hmc_remote_find(pair->peer, address, 64, 0, &first, &offset));
  assert_success(hmc_put(local.region, 0, first, offset, 64));
  hmc_region_close(region);
  assert_success(hmc_region_register(pair->there, memory, FAR_SIZE / 2, "second", HMC_REMOTE_ALL, &region));
  assert_status(hmc_put(local.region, 0, first, offset, 64), HMC_STALE);
  assert_success(hmc_remote_find(pair->peer, address, 64, 0, &second, &offset));
  assert_ptr_not_equal(first, second);
  assert_int_equal(hmc_remote_size(second), FAR_SIZE / 2);
  assert_success(hmc_put(local.region, 0, second, offset, 64));
  hmc_remote_close(first);
  hmc_remote_close(second);
  hmc_region_close(region);
  hmc_memory_free(stamp.far, memory);
  test_buffer_close(&local);
}

/* Three regions over the same bytes, each with its own rights and its own end. */
void regions_overlap(void **state) {
  context_pair_t *pair = *state;
  test_buffer_t local = near_make(pair, 64, false);
  uint8_t *memory = NULL;
  hmc_region_t *regions[3];
  hmc_remote_t *remotes[3], *found = NULL;
  uint64_t offset = 0;
  assert_success(hmc_memory_allocate(stamp.far, FAR_SIZE, (void **)&memory));
  assert_success(hmc_region_register(pair->there, memory, FAR_SIZE, "all", HMC_REMOTE_ALL, &regions[0]));
  assert_success(hmc_region_register(pair->there, memory + 1024, 2048, "middle", HMC_REMOTE_READ, &regions[1]));
  assert_success(hmc_region_register(pair->there, memory + 1024, 2048, "again", HMC_REMOTE_ALL, &regions[2]));
  assert_success(hmc_remote_open(pair->peer, "all", 0, &remotes[0]));
  assert_success(hmc_remote_open(pair->peer, "middle", 0, &remotes[1]));
  assert_success(hmc_remote_open(pair->peer, "again", 0, &remotes[2]));
  uint64_t word = 99;
  test_buffer_store(&local, 0, &word, sizeof word);
  assert_success(hmc_put(local.region, 0, remotes[0], 1024, 8));
  assert_status(hmc_put(local.region, 0, remotes[1], 0, 8), HMC_DENIED);
  assert_success(hmc_get(local.region, 8, remotes[1], 0, 8));
  test_buffer_load(&local, 8, &word, sizeof word);
  assert_int_equal(word, 99);
  hmc_region_close(regions[2]); /* its end alone */
  assert_status(hmc_put(local.region, 0, remotes[2], 0, 8), HMC_STALE);
  assert_success(hmc_get(local.region, 16, remotes[1], 0, 8));
  assert_success(hmc_put(local.region, 0, remotes[0], 1032, 8));
  hmc_region_close(regions[1]);
  assert_status(hmc_get(local.region, 16, remotes[1], 0, 8), HMC_STALE);
  assert_success(hmc_put(local.region, 0, remotes[0], 1024, 8));
  assert_success(hmc_remote_find(pair->peer, (uint64_t)(uintptr_t)memory + 1024, 8, 0, &found, &offset));
  assert_int_equal(offset, 1024);
  hmc_remote_close(found);
  for (int i = 0; i < 3; i++) hmc_remote_close(remotes[i]);
  hmc_region_close(regions[0]);
  hmc_memory_free(stamp.far, memory);
  test_buffer_close(&local);
}
