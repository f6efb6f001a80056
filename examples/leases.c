/* Leases, queues and polling, as in a server of pages: the owner grants a page for a while and takes it back, and the
 * page can be used for something else at once. Its peer writes the page through a request whose end comes as an event,
 * and counts it through a queue, which makes no requests at all. */
#include "example.h"

#include <string.h>

enum { PAGE = 64 << 10, PAGES = 4, MINE = 2 };

/* Takes the next thing that happens on a context, which must be of that kind. */
static hmc_event_t next(hmc_context_t *context, hmc_event_kind_t kind) {
  hmc_event_t event = HMC_EVENT_INIT;
  size_t count;
  check(hmc_poll(context, &event, 1, &count, 60000));
  if (event.kind == kind) return event;
  fprintf(stderr, "event %d came, and not %d\n", (int)event.kind, (int)kind);
  exit(1);
}

static void await_word(hmc_context_t *context, const char *word) {
  hmc_event_t event = next(context, HMC_EVENT_NOTIFICATION);
  if (event.data_size != strlen(word) || memcmp(event.data, word, event.data_size) != 0) {
    fprintf(stderr, "the peer did not say '%s'\n", word);
    exit(1);
  }
  hmc_notification_free(event.data);
}

static hmc_region_t *make_pages(hmc_context_t *context) {
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  hmc_region_t *region;
  options.bytes = PAGES * PAGE;
  options.name = "pages";
  options.rights = HMC_REMOTE_WRITE;
  options.flags = HMC_REGION_LEASED;
  check(hmc_region_create(context, &options, &region));
  return region;
}

static void own(void) {
  hmc_context_t *context;
  hmc_region_t *count;
  hmc_queue_t *queue;
  hmc_lease_t *lease;
  hmc_lease_options_t options = HMC_LEASE_OPTIONS_INIT;
  const uint64_t page = MINE;
  check(hmc_context_create(NULL, &context));
  hmc_region_t *region = make_pages(context);
  unsigned char *bytes = (unsigned char *)hmc_region_pointer(region) + MINE * PAGE;
  check(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, 8, "count", HMC_REMOTE_ATOMIC, &count));
  check(hmc_queue_create(context, NULL, &queue));
  hmc_peer_t *peer = example_accept(context);
  options.blocks = &page;
  options.block_count = 1;
  options.block_size = PAGE;
  check(hmc_lease_grant(region, peer, &options, &lease));
  uint64_t number = hmc_lease_number(lease);
  check(hmc_queue_notify(queue, peer, &number, sizeof number));
  await_word(context, "written");
  int first = bytes[0], last = bytes[PAGE - 1];
  printf("page %d holds %d to %d, and %d page was counted\n", MINE, first, last, *(int *)hmc_region_pointer(count));
  hmc_lease_revoke(lease);
  memset(bytes, 9, PAGE); /* somebody else's, from now on */
  check(hmc_queue_notify(queue, peer, "revoked", strlen("revoked")));
  await_word(context, "tried");
  printf("after the revocation it holds %d to %d\n", bytes[0], bytes[PAGE - 1]);
  next(context, HMC_EVENT_PEER_LOST); /* it has left */
  hmc_queue_destroy(queue);
  hmc_context_destroy(context);
}

/* Writes the page under a lease; returns what became of it, as the request's event says. */
static hmc_status_t write_page(hmc_context_t *context, hmc_region_t *here, hmc_remote_t *pages, uint64_t lease) {
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  hmc_request_t *request;
  options.flags = HMC_OPERATION_EVENT;
  options.lease = lease;
  check(hmc_put_nb(here, 0, pages, MINE * PAGE, PAGE, &options, &request));
  hmc_status_t status = next(context, HMC_EVENT_COMPLETION).status;
  hmc_request_free(request);
  return status;
}

static void visit(int argc, char **argv) {
  hmc_context_t *context;
  hmc_region_t *here;
  hmc_remote_t *pages, *count;
  hmc_queue_t *queue;
  uint64_t lease;
  check(hmc_context_create(NULL, &context));
  check(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, PAGE, NULL, 0, &here));
  memset(hmc_region_pointer(here), 7, PAGE);
  hmc_peer_t *peer = example_connect(context, argc, argv);
  check(hmc_remote_open(peer, "pages", 0, &pages));
  check(hmc_remote_open(peer, "count", 0, &count));
  check(hmc_queue_create(context, NULL, &queue));
  hmc_event_t granted = next(context, HMC_EVENT_NOTIFICATION);
  memcpy(&lease, granted.data, sizeof lease);
  hmc_notification_free(granted.data);
  check(write_page(context, here, pages, lease));
  check(hmc_queue_atomic(queue, count, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL));
  check(hmc_queue_notify(queue, peer, "written", strlen("written"))); /* comes after what the queue has done */
  check(hmc_queue_flush(queue, peer, 0));
  await_word(context, "revoked");
  printf("wrote a page; under the revoked lease: %s\n", hmc_status_name(write_page(context, here, pages, lease)));
  check(hmc_queue_notify(queue, peer, "tried", strlen("tried")));
  check(hmc_queue_flush(queue, peer, 0));
  hmc_queue_destroy(queue);
  hmc_context_destroy(context);
}

int main(int argc, char **argv) {
  if (argc > 1)
    visit(argc, argv);
  else
    own();
  return 0;
}
