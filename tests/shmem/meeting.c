/* A PE that joins by an address or makes a unique id, as its arguments say; see meeting.py.
 *
 * usage: meeting PE N ADDRESS SECONDS | meeting id */
#include "check.h"

#include <shmem/ascend.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  if (argc == 2) {
    aclshmemx_uniqueid_t id = ACLSHMEM_UNIQUEID_INITIALIZER;
    return aclshmemx_get_uniqueid(&id) == 0 ? 0 : 3;
  }
  if (argc != 5) return 2;
  aclshmemx_init_attr_t attributes = {.my_pe = atoi(argv[1]), .n_pes = atoi(argv[2]), .local_mem_size = 16 << 20};
  attributes.option_attr = (aclshmem_init_optional_attr_t){
      (1 << 16) + (int)sizeof attributes.option_attr, ACLSHMEM_DATA_OP_MTE, (uint32_t)atoi(argv[4]), 120, 120, -1};
  snprintf(attributes.ip_port, sizeof attributes.ip_port, "%s", argv[3]);
  if (aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_DEFAULT, &attributes) != 0) return 3;
  CHECK(shmem_my_pe() == attributes.my_pe && shmem_n_pes() == attributes.n_pes);
  shmem_barrier_all();
  shmem_finalize();
  return 0;
}
