import hmc
server_ip = "192.168.2.244"
my_ip = "192.168.2.248"
sess = hmc.create_session(mem_type=hmc.MemoryType.CPU, local_ip=my_ip)
sess.connect(
peer_id=0,
self_id=1,
peer_ip=server_ip,
data_port=2025,
ctrl_tcp_port=5001,
conn=hmc.ConnType.UCX,
)
payload = b"hello hmc"
# stage into local ConnBuffer
n = sess.buf.put(payload, offset=0)
# put local [0, n) -> remote [0, n)
sess.put_remote(server_ip, 2025, local_off=0, remote_off=0, nbytes=n, conn=hmc.ConnType.UCX)
print("sent", n, "bytes")
