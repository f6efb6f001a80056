# The public C API (include/hmc.h) as Cython sees it. Also what other packages of python/ cimport.
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

cdef extern from "hmc/status.h" nogil:
    ctypedef enum hmc_status_t:
        HMC_SUCCESS, HMC_ERROR, HMC_UNSUPPORT, HMC_INVALID_CONFIG, HMC_TIMEOUT, HMC_NOT_FOUND, HMC_IN_PROGRESS
        HMC_PEER_LOST, HMC_CANCELLED, HMC_OUT_OF_RANGE, HMC_STALE, HMC_CORRUPT, HMC_DENIED, HMC_NO_MEMORY
        HMC_ADDRESS_IN_USE
    const char *hmc_status_name(hmc_status_t status)
    const char *hmc_status_text(hmc_status_t status)
    const char *hmc_last_error()

cdef extern from "hmc/version.h" nogil:
    const char *hmc_version_text()

cdef extern from "hmc/log.h" nogil:
    ctypedef enum hmc_log_level_t:
        HMC_LOG_NONE, HMC_LOG_ERROR, HMC_LOG_WARNING, HMC_LOG_INFO, HMC_LOG_DEBUG
    ctypedef void (*hmc_log_callback_t)(hmc_log_level_t level, const char *text, void *user) noexcept nogil
    void hmc_log_set_callback(hmc_log_callback_t callback, void *user)
    void hmc_log_set_level(hmc_log_level_t level)
    hmc_log_level_t hmc_log_get_level()

cdef extern from "hmc/memory.h" nogil:
    ctypedef enum hmc_memory_kind_t:
        HMC_MEMORY_DEFAULT, HMC_MEMORY_CPU, HMC_MEMORY_NVIDIA_GPU, HMC_MEMORY_AMD_GPU, HMC_MEMORY_CAMBRICON_MLU
        HMC_MEMORY_HUAWEI_ASCEND_NPU, HMC_MEMORY_MOORE_GPU, HMC_MEMORY_SIM
    ctypedef struct hmc_memory_t:
        hmc_memory_kind_t kind
        int device
    ctypedef struct hmc_memory_info_t:
        size_t size
        hmc_memory_t memory
        void *base
        size_t bytes
    const char *hmc_memory_kind_name(hmc_memory_kind_t kind)
    hmc_status_t hmc_memory_kind_parse(const char *name, hmc_memory_kind_t *kind)
    hmc_status_t hmc_memory_devices(hmc_memory_kind_t kind, int *devices)
    hmc_status_t hmc_memory_resolve(hmc_memory_t memory, hmc_memory_t *resolved)
    hmc_status_t hmc_memory_allocate(hmc_memory_t memory, size_t size, void **pointer)
    hmc_status_t hmc_memory_free(hmc_memory_t memory, void *pointer)
    hmc_status_t hmc_memory_copy(void *destination, hmc_memory_t destination_memory, const void *source,
                                 hmc_memory_t source_memory, size_t size)
    hmc_status_t hmc_memory_query(const void *pointer, hmc_memory_info_t *info)

cdef extern from "hmc/context.h" nogil:
    ctypedef struct hmc_context_t:
        pass
    ctypedef struct hmc_peer_t:
        pass
    const uint64_t HMC_FOREVER
    const uint64_t HMC_NO_WAIT
    ctypedef enum hmc_connection_type_t:
        HMC_CONNECTION_AUTO, HMC_CONNECTION_RDMA, HMC_CONNECTION_UCX, HMC_CONNECTION_TCP, HMC_CONNECTION_SHM
    ctypedef enum hmc_peer_state_t:
        HMC_PEER_CONNECTED, HMC_PEER_GONE
    ctypedef struct hmc_context_options_t:
        const char *name
        uint64_t timeout_ms
    ctypedef struct hmc_peer_info_t:
        hmc_peer_state_t state
        hmc_connection_type_t type
        char ip[64]
        uint16_t port
        char name[64]
        char host[64]
        uint64_t incarnation
        int process
    const char *hmc_connection_type_name(hmc_connection_type_t type)
    hmc_status_t hmc_connection_type_parse(const char *name, hmc_connection_type_t *type)
    hmc_status_t hmc_connection_type_probe(hmc_connection_type_t type, char *reason, size_t size)
    hmc_status_t hmc_context_create(const hmc_context_options_t *options, hmc_context_t **context)
    void hmc_context_destroy(hmc_context_t *context)
    hmc_status_t hmc_context_listen(hmc_context_t *context, const char *ip, uint16_t port, uint16_t *bound_port)
    void hmc_context_stop_listening(hmc_context_t *context)
    hmc_status_t hmc_context_accept(hmc_context_t *context, uint64_t timeout_ms, hmc_peer_t **peer)
    hmc_status_t hmc_peer_explain(hmc_peer_t *peer, char *text, size_t size, size_t *needed)
    void hmc_peer_close(hmc_peer_t *peer)

cdef extern from "hmc/region.h" nogil:
    ctypedef struct hmc_region_t:
        pass
    ctypedef struct hmc_remote_t:
        pass
    enum:
        HMC_REMOTE_READ, HMC_REMOTE_WRITE, HMC_REMOTE_ATOMIC, HMC_REMOTE_ALL
    hmc_status_t hmc_region_allocate(hmc_context_t *context, hmc_memory_t memory, size_t size, const char *name,
                                     unsigned rights, hmc_region_t **region)
    hmc_status_t hmc_region_register(hmc_context_t *context, void *pointer, size_t size, const char *name,
                                     unsigned rights, hmc_region_t **region)
    void hmc_region_close(hmc_region_t *region)
    void *hmc_region_pointer(const hmc_region_t *region)
    size_t hmc_region_size(const hmc_region_t *region)
    hmc_memory_t hmc_region_memory(const hmc_region_t *region)
    void hmc_remote_close(hmc_remote_t *remote)
    size_t hmc_remote_size(const hmc_remote_t *remote)
    hmc_memory_t hmc_remote_memory(const hmc_remote_t *remote)
    hmc_status_t hmc_remote_map(hmc_remote_t *remote, void **pointer)

cdef extern from "hmc/operation.h" nogil:
    ctypedef struct hmc_request_t:
        pass
    ctypedef struct hmc_batch_t:
        pass
    ctypedef enum hmc_atomic_operation_t:
        HMC_ATOMIC_ADD, HMC_ATOMIC_AND, HMC_ATOMIC_OR, HMC_ATOMIC_XOR, HMC_ATOMIC_SWAP, HMC_ATOMIC_COMPARE_SWAP
    ctypedef struct hmc_signal_t:
        hmc_remote_t *remote
        uint64_t offset
        hmc_atomic_operation_t operation
        uint64_t value
    enum:
        HMC_NOTIFICATION_MAX, HMC_OPERATION_CHECKSUM
    ctypedef void (*hmc_completion_callback_t)(hmc_request_t *request, hmc_status_t status, void *user) noexcept nogil
    ctypedef struct hmc_operation_options_t:
        uint64_t timeout_ms
        unsigned flags
        const hmc_signal_t *signal
        const void *notification
        size_t notification_size
        hmc_completion_callback_t callback
        void *user
    ctypedef struct hmc_segment_t:
        uint64_t local_offset, remote_offset, length
    ctypedef struct hmc_strided_t:
        uint64_t element
        uint64_t count[3]
        uint64_t local_offset
        uint64_t local_stride[2]
        uint64_t remote_offset
        uint64_t remote_stride[2]
    hmc_status_t hmc_put(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                         uint64_t length)
    hmc_status_t hmc_get(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                         uint64_t length)
    hmc_status_t hmc_put_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                            uint64_t length, const hmc_operation_options_t *options, hmc_request_t **request)
    hmc_status_t hmc_get_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                            uint64_t length, const hmc_operation_options_t *options, hmc_request_t **request)
    hmc_status_t hmc_atomic(hmc_remote_t *remote, uint64_t remote_offset, hmc_atomic_operation_t operation,
                            unsigned width, uint64_t operand, uint64_t compare, uint64_t *fetched)
    hmc_status_t hmc_atomic_nb(hmc_remote_t *remote, uint64_t remote_offset, hmc_atomic_operation_t operation,
                               unsigned width, uint64_t operand, uint64_t compare, uint64_t *fetched,
                               const hmc_operation_options_t *options, hmc_request_t **request)
    hmc_status_t hmc_batch_create(hmc_region_t *local, hmc_remote_t *remote, const hmc_segment_t *segments,
                                  size_t count, hmc_batch_t **batch)
    hmc_status_t hmc_batch_create_strided(hmc_region_t *local, hmc_remote_t *remote, const hmc_strided_t *shape,
                                          hmc_batch_t **batch)
    enum:
        HMC_PIECE_GET
    ctypedef struct hmc_piece_t:
        hmc_region_t *local
        hmc_remote_t *remote
        uint64_t local_offset, remote_offset, length
        unsigned flags
    hmc_status_t hmc_batch_create_pieces(const hmc_piece_t *pieces, size_t count, hmc_batch_t **batch)
    hmc_status_t hmc_batch_start_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                    hmc_request_t **request)
    void hmc_batch_free(hmc_batch_t *batch)
    uint64_t hmc_batch_size(const hmc_batch_t *batch)
    hmc_status_t hmc_batch_put(hmc_batch_t *batch)
    hmc_status_t hmc_batch_get(hmc_batch_t *batch)
    hmc_status_t hmc_batch_put_nb(hmc_batch_t *batch, const hmc_operation_options_t *options, hmc_request_t **request)
    hmc_status_t hmc_batch_get_nb(hmc_batch_t *batch, const hmc_operation_options_t *options, hmc_request_t **request)
    hmc_status_t hmc_request_test(hmc_request_t *request)
    hmc_status_t hmc_request_wait(hmc_request_t *request)
    hmc_status_t hmc_request_cancel(hmc_request_t *request)
    void hmc_request_free(hmc_request_t *request)
    hmc_status_t hmc_context_connect_nb(hmc_context_t *context, const char *ip, uint16_t port,
                                        hmc_connection_type_t type, const hmc_operation_options_t *options,
                                        hmc_peer_t **peer, hmc_request_t **request)
    hmc_status_t hmc_remote_open_nb(hmc_peer_t *peer, const char *name, const hmc_operation_options_t *options,
                                    hmc_remote_t **remote, hmc_request_t **request)
    hmc_status_t hmc_peer_flush(hmc_peer_t *peer, uint64_t timeout_ms)
    hmc_status_t hmc_context_event_descriptor(hmc_context_t *context, int *descriptor)
    hmc_status_t hmc_notification_receive(hmc_context_t *context, void *data, size_t capacity, size_t *size,
                                          hmc_peer_t **peer, uint64_t timeout_ms)

cdef extern from "glue.h" nogil:
    hmc_status_t hmcpy_context_create(const char *name, uint64_t timeout_ms, const char *secret,
                                      hmc_context_t **context)
    hmc_status_t hmcpy_peer_info(hmc_peer_t *peer, hmc_peer_info_t *info)
    void hmcpy_operation_options(hmc_operation_options_t *options)
    ctypedef struct hmcpy_call_t:
        const int *stop
        int (*ask)() noexcept nogil
    hmc_status_t hmcpy_transfer(const hmcpy_call_t *call, int is_put, hmc_region_t *local, uint64_t offset,
                                hmc_remote_t *remote, uint64_t remote_offset, uint64_t length,
                                const hmc_operation_options_t *options)
    hmc_status_t hmcpy_glance(hmc_request_t *request)
    hmc_status_t hmcpy_wait_a_while(hmc_request_t *request, uint64_t most_ns, uint64_t *waited_ns)
    void hmcpy_wait_any_a_while(hmc_request_t *const *requests, size_t count, uint64_t most_ns, uint64_t *waited_ns,
                                size_t *index)
    uint64_t hmcpy_now_ns()
    uint64_t hmcpy_load(const void *word, unsigned width)
    void hmcpy_nap(uint64_t *waited_ns)
