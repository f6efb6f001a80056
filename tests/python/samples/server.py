import hmc
ip = "192.168.2.244"
rank = 0
sess = hmc.create_session(
device_id=0,
buffer_size=128 * 1024 * 1024,
mem_type=hmc.MemoryType.CPU,
num_chs=1,
local_ip=ip,
)
sess.init_server(
bind_ip=ip,
ucx_port=2025,
rdma_port=2026,
ctrl_tcp_port=5001,
self_id=rank,
ctrl_uds_dir="/tmp",
)
print("UCX server ready")
