/* Puts and gets that block: every size, every offset, every kind of region, and the bytes beside them. */
#include "suite.h"

#define LARGEST (16 * MIB + 3)

static const uint64_t sizes[] = {0, 1, 7, 8, 63, 64, 65, 4095, 4097, 65535, 65537, MIB + 1, LARGEST};

/* One put and one get of the same range, both looked at from both ends. */
static void move_and_look(pair_t *pair, const test_buffer_t *local, uint64_t offset, hmc_remote_t *remote,
                          uint32_t slot, uint64_t remote_offset, uint64_t length) {
  uint64_t there = mix(length + 1), here = mix(length + 2), back = mix(length + 3);
  target_write_frame(pair, slot, remote_offset, length, there);
  frame_write(local, offset, length, here);
  assert_success(hmc_put(local->region, offset, remote, remote_offset, length));
  target_check_frame(&pair->target, slot, remote_offset, length, here);
  assert_true(frame_check(local, offset, length, here) == PATTERN_SAME);

  target_write_frame(pair, slot, remote_offset, length, back);
  assert_success(hmc_get(local->region, offset, remote, remote_offset, length));
  assert_true(frame_check(local, offset, length, back) == PATTERN_SAME);
  target_check_frame(&pair->target, slot, remote_offset, length, back);
}

void sizes_and_odd_offsets(void **state) {
  pair_t *pair = *state;
  const uint64_t room = LARGEST + 4 * FRAME_GUARD;
  hmc_remote_t *remote = remote_make(pair, "sizes", (there_t){.size = room});
  test_buffer_t local = local_make(pair, room, false);
  for (size_t i = 0; i < COUNT_OF(sizes); i++)
    move_and_look(pair, &local, FRAME_GUARD + 3 + 2 * i, remote, 0, FRAME_GUARD + 1 + 7 * i, sizes[i]);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

void up_to_the_edges(void **state) {
  pair_t *pair = *state;
  static const uint64_t edges[] = {1, 4099, 65537};
  for (uint32_t i = 0; i < COUNT_OF(edges); i++) {
    uint64_t size = edges[i];
    char name[] = {'e', 'd', 'g', 'e', (char)('0' + i), 0};
    hmc_remote_t *remote = remote_make(pair, name, (there_t){.slot = i, .size = size});
    test_buffer_t local = local_make(pair, size, false);
    move_and_look(pair, &local, 0, remote, i, 0, size);
    move_and_look(pair, &local, size - 1, remote, i, 0, 1);
    move_and_look(pair, &local, 0, remote, i, size - 1, 1);
    move_and_look(pair, &local, size, remote, i, size, 0);
    hmc_remote_close(remote);
    test_buffer_close(&local);
  }
}

void registered_memory(void **state) {
  pair_t *pair = *state;
  static const uint64_t lengths[] = {1, 65, 4097, 65537, MIB + 1};
  const uint64_t size = MIB + 1;
  hmc_remote_t *made = remote_make(pair, "made", (there_t){.slot = 0, .size = size});
  hmc_remote_t *registered = remote_make(pair, "registered", (there_t){.slot = 1, .size = size, .registered = true});
  test_buffer_t here = local_make(pair, size, false), borrowed = local_make(pair, size, true);
  for (size_t i = 0; i < COUNT_OF(lengths); i++) {
    uint64_t odd = size - lengths[i] > 5 ? 5 : 0, length = lengths[i];
    move_and_look(pair, &borrowed, odd, made, 0, size - length, length);
    move_and_look(pair, &here, size - length, registered, 1, odd, length);
    move_and_look(pair, &borrowed, size - length, registered, 1, odd, length);
    move_and_look(pair, &borrowed, odd, registered, 1, size - length, length);
  }
  hmc_remote_close(made);
  hmc_remote_close(registered);
  test_buffer_close(&here);
  test_buffer_close(&borrowed);
}

void huge(void **state) {
  pair_t *pair = *state;
  const uint64_t length = SANITIZED          ? 32 * MIB
                          : stamp_is_plain() ? 256 * MIB
                                             : 64 * MIB,
                 room = length + 3 * FRAME_GUARD;
  hmc_remote_t *remote = remote_make(pair, "huge", (there_t){.size = room});
  test_buffer_t local = local_make(pair, room, false);
  move_and_look(pair, &local, FRAME_GUARD + 5, remote, 0, FRAME_GUARD + 9, length);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* Every length up to some cache lines, at every alignment of one end: where copies of odd ends go wrong. */
void small_moves_of_every_length(void **state) {
  pair_t *pair = *state;
  const uint64_t step = 512, most = 160;
  hmc_remote_t *remote = remote_make(pair, "small", (there_t){.size = (most + 2) * step});
  test_buffer_t local = local_make(pair, (most + 2) * step, false), back = local_make(pair, (most + 2) * step, false);
  for (uint64_t length = 1; length <= most; length++) {
    frame_write(&local, length * step, length, length);
    frame_write(&back, length * step, length, ~length);
    assert_success(hmc_put(local.region, length * step, remote, length * step - length % 64, length));
    assert_success(hmc_get(back.region, length * step, remote, length * step - length % 64, length));
    assert_true(frame_check(&back, length * step, length, length) == PATTERN_SAME);
  }
  hmc_remote_close(remote);
  test_buffer_close(&local);
  test_buffer_close(&back);
}
