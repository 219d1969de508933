// LevelDB.
#include <fcntl.h>
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/env.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>
#include <unistd.h>

#include "bench/engine.h"

namespace rawcache::bench {

namespace {

constexpr int kBloomBitsPerKey = 10;
constexpr int kOpenFilesMax = 10'000;
constexpr std::size_t kWriteBatchBytes = std::size_t{256} << 10;

leveldb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
leveldb::Slice slice(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Reads by pread, without read-ahead. LevelDB's own way is mmap, where the kernel's read-ahead
/// turns a cold get into megabytes.
class PreadFile final : public leveldb::RandomAccessFile {
 public:
  explicit PreadFile(int descriptor) : descriptor_(descriptor) {}
  ~PreadFile() override { ::close(descriptor_); }

  leveldb::Status Read(std::uint64_t offset, std::size_t n, leveldb::Slice* result,
                       char* scratch) const override {
    const ssize_t got = ::pread(descriptor_, scratch, n, static_cast<off_t>(offset));
    *result = leveldb::Slice(scratch, got < 0 ? 0 : static_cast<std::size_t>(got));
    return got < 0 ? leveldb::Status::IOError("pread") : leveldb::Status::OK();
  }

 private:
  int descriptor_;
};

class PreadEnv final : public leveldb::EnvWrapper {
 public:
  PreadEnv() : EnvWrapper(leveldb::Env::Default()) {}
  leveldb::Status NewRandomAccessFile(const std::string& path,
                                      leveldb::RandomAccessFile** file) override {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return leveldb::Status::NotFound(path);
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_RANDOM);
    *file = new PreadFile(descriptor);
    return leveldb::Status::OK();
  }
};

class LeveldbEngine final : public Engine {
 public:
  LeveldbEngine() { durable_options_.sync = true; }

  void open(const Settings& settings) override {
    path_ = settings.folder + "/db";
    cache_.reset(leveldb::NewLRUCache(settings.cache_bytes));
    filter_.reset(leveldb::NewBloomFilterPolicy(kBloomBitsPerKey));
    leveldb::Options options;
    options.create_if_missing = true;
    options.compression = leveldb::kNoCompression;
    options.block_cache = cache_.get();
    options.filter_policy = filter_.get();
    options.write_buffer_size = settings.write_buffer_bytes;
    options.max_open_files = kOpenFilesMax;
    options.env = &env_;
    // Its thread is made when it is first needed, and would otherwise stay on the processor that a
    // phase keeps to.
    leveldb::Env::Default()->Schedule([](void*) {}, nullptr);
    if (settings.fresh) check(leveldb::DestroyDB(path_, options), "destroy");
    leveldb::DB* db = nullptr;
    check(leveldb::DB::Open(options, path_, &db), "open");
    db_.reset(db);
  }

  void close() override { db_.reset(); }

  void finish_background_work() override { db_->CompactRange(nullptr, nullptr); }

  void put_batch(std::span<const Entry> entries) override {
    leveldb::WriteBatch batch;
    std::size_t count = 0;
    for (const Entry& entry : entries) {
      batch.Put(slice(entry.key), slice(entry.value));
      ++count;
      if (batch.ApproximateSize() < kWriteBatchBytes) continue;
      check(db_->Write({}, &batch), "write");
      batch.Clear();
      count = 0;
    }
    if (count > 0) check(db_->Write({}, &batch), "write");
  }

  void put_durable(const Entry& entry) override {
    check(db_->Put(durable_options_, slice(entry.key), slice(entry.value)), "put");
  }

  /// An empty write that is synced syncs the log with everything in it, but not the one before it,
  /// whose table is still being made.
  void flush() override {
    leveldb::WriteBatch nothing;
    check(db_->Write(durable_options_, &nothing), "sync");
    const int folder = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || ::syncfs(folder) != 0) fail("leveldb", "syncfs");
    ::close(folder);
  }

  void get(const Key& key, Sink& sink) override {
    std::string value;
    const leveldb::Status status = db_->Get({}, slice(key.view()), &value);
    if (status.IsNotFound()) return;
    check(status, "get");
    sink.take(key, value);
  }

  void get_batch(std::span<const Key> keys, Sink& sink) override {
    for (const Key& key : keys) get(key, sink);
  }

 private:
  static void check(const leveldb::Status& status, const char* what) {
    if (!status.ok()) fail(std::string("leveldb: ") + what, status.ToString());
  }

  std::string path_;
  PreadEnv env_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  leveldb::WriteOptions durable_options_;
  std::unique_ptr<leveldb::DB> db_;
};

}  // namespace

void add_leveldb(std::vector<EngineKind>& kinds) {
  kinds.push_back({.name = "leveldb",
                   .description = "Bloom filters of 10 bits, tables read by pread",
                   .make = [] { return std::make_unique<LeveldbEngine>(); }});
}

}  // namespace rawcache::bench
