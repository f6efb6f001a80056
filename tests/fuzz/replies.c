/* An authenticated peer's replies: operations of all kinds are in progress, the input is what the peer answers, and
 * which of them are cancelled meanwhile. Each ends exactly once, and gets touch nothing but their own bytes. */
#include "fuzz.h"

#include "../../src/transport/stream/stream_fixture.h"
#include "../../src/transport/stream/wire.h"

enum { SIZE = 4096, OPERATIONS = 12, GUARD = 0xa5 };

typedef struct scene {
  stream_stand_t stand;
  hmci_requester_t requester;
  hmci_region_view_t local;
  hmci_remote_view_t remote;
  hmci_segment_t segments[3];
  hmci_operation_t operations[OPERATIONS];
  uint8_t memory[SIZE];
} scene_t;

static uint32_t ended;
static void on_end(hmci_operation_t *operation) {
  (void)operation;
  ended++;
}

static hmc_status_t start(scene_t *scene, uint32_t index, uint8_t what) {
  hmci_operation_t *operation = &scene->operations[index];
  *operation = (hmci_operation_t){.kind = what % 4,
                                  .local = &scene->local,
                                  .remote = what % 4 == HMCI_NOTIFY ? NULL : &scene->remote,
                                  .segments = scene->segments,
                                  .segment_count = 3,
                                  .deadline = HMCI_NEVER,
                                  .checksum = what & 4 && what % 4 <= HMCI_GET,
                                  .completed = on_end,
                                  .message = "note",
                                  .message_size = 4,
                                  .atomic = {HMC_ATOMIC_ADD, what & 8, 1, 0, 0},
                                  .single = {0, 8, 8}};
  if (what % 4 >= HMCI_ATOMIC) {
    operation->segments = &operation->single;
    operation->segment_count = 1;
  }
  return hmci_requester_submit(&scene->requester, operation, 1);
}

static void say(scene_t *scene, const uint8_t *bytes, size_t size) {
  uint8_t heard[65536];
  while (size && !scene->requester.failed) {
    ssize_t sent = send(scene->stand.far, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) bytes += sent, size -= (size_t)sent;
    hmci_requester_progress(&scene->requester);
    while (recv(scene->stand.far, heard, sizeof heard, MSG_DONTWAIT) > 0) continue;
  }
}

static void answer(scene_t *scene, input_t *input) {
  uint8_t frame[HMCI_REPLY_HEADER];
  hmci_reply_header_t header = {.type = HMCI_WIRE_ACK + take(input) % 4, .sequence = take(input) % (OPERATIONS + 2)};
  if (header.type == HMCI_WIRE_NAK) header.status = take(input);
  if (header.type >= HMCI_WIRE_DATA) header.length = (uint64_t)take(input) * 7;
  if (header.type == HMCI_WIRE_DATA) header.flags = take(input) % 8;
  hmci_reply_encode(frame, &header);
  say(scene, frame, sizeof frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static scene_t scene;
  input_t input = {data, size};
  uint32_t count = 0;
  memset(&scene, 0, sizeof scene);
  memset(scene.memory, GUARD, SIZE);
  ended = 0;
  stand_open(&scene.stand, 4096);
  scene.local = (hmci_region_view_t){.base = scene.memory,
                                     .size = SIZE,
                                     .memory = {HMC_MEMORY_CPU, 0},
                                     .ops = &hmci_memory_host,
                                     .owned = take(&input) % 2};
  scene.remote = (hmci_remote_view_t){.size = SIZE, .id = 1, .generation = 1};
  for (uint32_t i = 0; i < 3; i++) scene.segments[i] = (hmci_segment_t){100 + i * 700, i * 700, 600};
  hmci_loop_lock(scene.stand.host.loop);
  MUST(hmci_requester_open(&scene.requester, &scene.stand.host, NULL, scene.stand.pipe) == HMC_SUCCESS);
  while (input.size && !scene.requester.failed) {
    uint8_t what = take(&input);
    size_t length;
    if (what < 80 && count < OPERATIONS) {
      if (start(&scene, count, what) == HMC_SUCCESS) count++;
    } else if (what < 200) {
      answer(&scene, &input);
      const uint8_t *bytes = take_some(&input, what % 2 ? 0 : take(&input), &length);
      say(&scene, bytes, length);
    } else if (count) {
      hmci_requester_cancel(&scene.requester, &scene.operations[take(&input) % count], HMC_CANCELLED);
    }
  }
  hmci_requester_fail(&scene.requester, HMC_CANCELLED);
  MUST(ended == count);
  for (uint32_t i = 0; i < count; i++) MUST(hmci_operation_is_complete(&scene.operations[i]));
  for (uint32_t i = 0; i < 100; i++) MUST(scene.memory[i] == GUARD && scene.memory[SIZE - 1 - i] == GUARD);
  for (uint32_t i = 0; i < 100; i++) MUST(scene.memory[700 + i] == GUARD && scene.memory[1400 + i] == GUARD);
  hmci_requester_close(&scene.requester);
  hmci_loop_unlock(scene.stand.host.loop);
  stand_close(&scene.stand);
  return 0;
}
