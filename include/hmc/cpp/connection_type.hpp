/* ConnType: how a Communicator reaches a peer, by the names and values that programs know. */
#ifndef HMC_CPP_CONNECTION_TYPE_HPP
#define HMC_CPP_CONNECTION_TYPE_HPP

#include <hmc/context.h>

namespace hmc {
inline namespace v0 {

/* How a peer is to be reached. All but AUTO are required: where that way does not work, connectTo answers UNSUPPORT and
 * last_error() says why. The first two have their historical values. */
enum class ConnType : int {
  RDMA = 0,
  UCX = 1,
  TCP = 2,
  SHM = 3,  /* shared memory, for peers on one host */
  AUTO = 4, /* the fastest that works */
};

namespace hmc_detail {

inline hmc_connection_type_t connection_type(ConnType type) {
  switch (type) {
  case ConnType::RDMA: return HMC_CONNECTION_RDMA;
  case ConnType::UCX: return HMC_CONNECTION_UCX;
  case ConnType::TCP: return HMC_CONNECTION_TCP;
  case ConnType::SHM: return HMC_CONNECTION_SHM;
  case ConnType::AUTO: break;
  }
  return HMC_CONNECTION_AUTO;
}

} // namespace hmc_detail

} // namespace v0
} // namespace hmc
#endif
