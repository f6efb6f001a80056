// The layer below SMEM's pool, as a program in C++ uses it: one entity by itself.
#include "ranks.h"

#include <hybm/hybm_big_mem.h>
#include <hybm/hybm_data_op.h>

int main() {
  ranks_set_up();
  hybm_options options = {};
  options.memType = HYBM_MEM_TYPE_HOST;
  options.rankCount = 1;
  options.hostVASpace = 4 << 20;
  options.globalUniqueAddress = true;
  ANSWERS(0, hybm_init(0, HYBM_INIT_GVM_FLAG));
  hybm_entity_t entity = hybm_create_entity(5, &options, 0);
  CHECK(entity != nullptr);
  ANSWERS(0, hybm_reserve_mem_space(entity, 0));
  hybm_mem_slice_t slice = hybm_alloc_local_memory(entity, HYBM_MEM_TYPE_HOST, 2 << 20, 0);
  CHECK(slice != nullptr);
  char bytes[100], *there = static_cast<char *>(hybm_get_slice_va(entity, slice));
  fill(bytes, sizeof(bytes), 5);
  hybm_copy_params copy = {bytes, there, sizeof(bytes)};
  ANSWERS(0, hybm_data_copy(entity, &copy, HYBM_LOCAL_HOST_TO_GLOBAL_HOST, nullptr, 0));
  CHECK(is_filled(there, sizeof(bytes), 5));
  hybm_data_op_type reach = HYBM_DOP_TYPE_DEFAULT;
  ANSWERS(0, hybm_entity_reach_types(entity, 0, reach, 0));
  CHECK((reach & HYBM_DOP_TYPE_SDMA) != 0);
  hybm_destroy_entity(entity, 0);
  hybm_uninit();
  return 0;
}
