/* NIXL's interface for backend plug-ins, as its wheels 1.0 to 1.5 lay it out in memory.
 *
 * NIXL ships no headers, and its version number of this interface stayed 1 while the classes changed around it. So these
 * are our own declarations of what crosses the border: the order of virtual functions, the order of data members, and
 * the values of the enumerations (source: the public headers src/api/cpp/backend/{backend_engine,backend_aux,
 * backend_plugin}.h of ai-dynamo/nixl). The names are ours; a call goes by its place in the table, never by its name.
 * tests/nixl loads the plug-in into the newest wheel and would notice a table that has moved.
 *
 * Invariant: no function here is defined out of line, so the plug-in needs no symbol of NIXL's. */
#ifndef HMC_NIXL_ABI_HPP
#define HMC_NIXL_ABI_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace nixl_abi {

constexpr int PLUGIN_VERSION = 1;

enum Segment { DRAM = 0, VRAM = 1, BLOCK = 2, OBJECT = 3, FILE = 4 };
enum Operation { READ = 0, WRITE = 1 };
enum Status {
  IN_PROGRESS = 1,
  SUCCESS = 0,
  NOT_POSTED = -1,
  INVALID_PARAM = -2,
  BACKEND = -3,
  NOT_FOUND = -4,
  MISMATCH = -5,
  NOT_ALLOWED = -6,
  REPOST_ACTIVE = -7,
  UNKNOWN = -8,
  NOT_SUPPORTED = -9,
  REMOTE_DISCONNECT = -10,
  CANCELED = -11,
};
enum class ThreadSync : int {};
enum class Cost : int { ANALYTICAL = 0 };

using Parameters = std::unordered_map<std::string, std::string>;
using Notifications = std::vector<std::pair<std::string, std::string>>; /* agent, message */

/* What NIXL hands to the constructor of an engine. */
struct InitParameters {
  std::string local_agent, type;
  Parameters *custom = nullptr;
  bool enable_progress_thread = false;
  uint64_t progress_delay_us = 0;
  ThreadSync sync{};
  bool enable_telemetry = false;
};

/* An engine's own objects, which NIXL carries around. */
class Metadata {
protected:
  bool is_private_;

public:
  explicit Metadata(bool is_private) : is_private_(is_private) {}
  virtual ~Metadata() = default;
};

class RequestHandle {
public:
  virtual ~RequestHandle() = default;
};

struct Descriptor {
  uintptr_t address;
  size_t length;
  uint64_t device;
};
struct BlobDescriptor : Descriptor {
  std::string blob;
};
struct MetaDescriptor : Descriptor {
  Metadata *metadata;
};

/* Lists that NIXL owns; we only read them. */
template <typename Item> class List {
public:
  virtual ~List() = default;
  size_t size() const { return items_.size(); }
  const Item &operator[](size_t index) const { return items_[index]; }

protected:
  Segment segment_{};
  std::vector<Item> items_;
};
using MetaList = List<MetaDescriptor>;
struct RemoteMetaDescriptor : MetaDescriptor {
  std::string agent;
};

struct OperationOptions {
  std::string notification;
  bool has_notification = false;
  std::string custom;
};

/* The base class. NIXL reads the data members by inlined accessors, and calls the virtual functions by their place. */
class Engine {
  std::string type_;
  Parameters custom_;
  std::vector<uint64_t> telemetry_; /* stays empty, so that the type of its items does not matter */
  std::mutex telemetry_lock_;

protected:
  bool init_error_ = false; /* NIXL asks right after the construction */
  const std::string local_agent_;
  const bool enable_telemetry_;

public:
  explicit Engine(const InitParameters *init)
      : type_(init->type), custom_(init->custom ? *init->custom : Parameters()), local_agent_(init->local_agent),
        enable_telemetry_(init->enable_telemetry) {}
  Engine(const Engine &) = delete;
  Engine &operator=(const Engine &) = delete;
  const Parameters &parameters() const { return custom_; }

  /* The order of what follows is the interface. */
  virtual ~Engine() = default;
  virtual bool supports_remote() const = 0;
  virtual bool supports_local() const = 0;
  virtual bool supports_notifications() const = 0;
  virtual std::vector<Segment> supported_segments() const = 0;
  virtual Status register_memory(const BlobDescriptor &memory, const Segment &segment, Metadata *&out) = 0;
  virtual Status deregister_memory(Metadata *metadata) = 0;
  virtual Status connect(const std::string &agent) = 0;
  virtual Status disconnect(const std::string &agent) = 0;
  virtual Status unload_metadata(Metadata *metadata) = 0;
  virtual Status prepare(const Operation &operation, const MetaList &local, const MetaList &remote,
                         const std::string &agent, RequestHandle *&handle, const OperationOptions *options) const = 0;
  virtual Status post(const Operation &operation, const MetaList &local, const MetaList &remote,
                      const std::string &agent, RequestHandle *&handle, const OperationOptions *options) const = 0;
  virtual Status check(RequestHandle *handle) const = 0;
  virtual Status release(RequestHandle *handle) const = 0;
  virtual Status prepare_remote_view(const List<RemoteMetaDescriptor> &, void *&, const OperationOptions *) const {
    return NOT_SUPPORTED;
  }
  virtual Status prepare_local_view(const MetaList &, void *&, const OperationOptions *) const { return NOT_SUPPORTED; }
  virtual void release_view(void *) const {}
  virtual Status public_data(const Metadata *metadata, std::string &out) const = 0;
  virtual Status connection_info(std::string &out) const = 0;
  virtual Status load_connection_info(const std::string &agent, const std::string &info) = 0;
  virtual Status load_remote_metadata(const BlobDescriptor &input, const Segment &segment, const std::string &agent,
                                      Metadata *&out) = 0;
  virtual Status load_local_metadata(Metadata *input, Metadata *&out) = 0;
  virtual Status notifications(Notifications &list) = 0;
  virtual Status notify(const std::string &agent, const std::string &message) const = 0;
  virtual Status query(const List<BlobDescriptor> &, std::vector<std::optional<Parameters>> &) const {
    return NOT_SUPPORTED;
  }
  virtual Status estimate(const Operation &, const MetaList &, const MetaList &, const std::string &,
                          RequestHandle *const &, std::chrono::microseconds &, std::chrono::microseconds &, Cost &,
                          const void *) const {
    return NOT_SUPPORTED;
  }
};

/* What nixl_plugin_init returns. */
struct Plugin {
  int version;
  Engine *(*create)(const InitParameters *init);
  void (*destroy)(Engine *engine);
  const char *(*name)();
  const char *(*release)();
  Parameters (*options)();
  std::vector<Segment> (*segments)();
};

} // namespace nixl_abi
#endif
