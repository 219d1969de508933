// RocksDB: with its log, without it, and with values in blob files.
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "bench/engine.h"

namespace rawcache::bench {

namespace {

constexpr int kBloomBitsPerKey = 10;
constexpr int kBackgroundJobs = 2;
constexpr std::uint64_t kBlobBytesMin = 1024;
/// A write batch larger than this gains nothing and misses the processor's caches.
constexpr std::size_t kWriteBatchBytes = std::size_t{256} << 10;

struct Variant {
  bool log = true;
  bool blobs = false;
};

rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
rocksdb::Slice slice(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class RocksdbEngine final : public Engine {
 public:
  explicit RocksdbEngine(Variant variant) : variant_(variant) {
    write_options_.disableWAL = !variant.log;
    durable_options_.sync = true;
  }

  void open(const Settings& settings) override {
    const rocksdb::Options options = options_of(settings);
    const std::string path = settings.folder + "/db";
    if (settings.fresh) check(rocksdb::DestroyDB(path, options), "destroy");
    rocksdb::DB* db = nullptr;
    check(rocksdb::DB::Open(options, path, &db), "open");
    db_.reset(db);
  }

  void close() override {
    check(db_->Close(), "close");
    db_.reset();
  }

  void put_batch(std::span<const Entry> entries) override {
    rocksdb::WriteBatch batch;
    for (const Entry& entry : entries) {
      check(batch.Put(slice(entry.key), slice(entry.value)), "put");
      if (batch.GetDataSize() < kWriteBatchBytes) continue;
      check(db_->Write(write_options_, &batch), "write");
      batch.Clear();
    }
    if (batch.Count() > 0) check(db_->Write(write_options_, &batch), "write");
  }

  void put_durable(const Entry& entry) override {
    check(db_->Put(durable_options_, slice(entry.key), slice(entry.value)), "put");
  }

  void flush() override {
    if (variant_.log) {
      check(db_->FlushWAL(/*sync=*/true), "flush of the log");
    } else {
      check(db_->Flush(rocksdb::FlushOptions()), "flush");
    }
  }

  void finish_background_work() override {
    check(db_->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr), "compaction");
  }

  void get(const Key& key, Sink& sink) override {
    rocksdb::PinnableSlice value;
    take(key, db_->Get(read_options_, db_->DefaultColumnFamily(), slice(key.view()), &value), value,
         sink);
  }

  void get_batch(std::span<const Key> keys, Sink& sink) override {
    std::vector<rocksdb::Slice> slices;
    for (const Key& key : keys) slices.push_back(slice(key.view()));
    std::vector<rocksdb::PinnableSlice> values(keys.size());
    std::vector<rocksdb::Status> states(keys.size());
    db_->MultiGet(read_options_, db_->DefaultColumnFamily(), keys.size(), slices.data(),
                  values.data(), states.data());
    for (std::size_t i = 0; i < keys.size(); ++i) take(keys[i], states[i], values[i], sink);
  }

 private:
  rocksdb::Options options_of(const Settings& settings) const {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(settings.cache_bytes);
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.use_direct_reads = true;
    options.use_direct_io_for_flush_and_compaction = true;
    options.write_buffer_size = settings.write_buffer_bytes;
    options.max_background_jobs = kBackgroundJobs;
    options.max_open_files = -1;
    if (variant_.blobs) {
      options.enable_blob_files = true;
      options.min_blob_size = kBlobBytesMin;
      options.enable_blob_garbage_collection = true;
      options.blob_cache = table.block_cache;
    }
    return options;
  }

  static void check(const rocksdb::Status& status, const char* what) {
    if (!status.ok()) fail(std::string("rocksdb: ") + what, status.ToString());
  }

  static void take(const Key& key, const rocksdb::Status& status,
                   const rocksdb::PinnableSlice& value, Sink& sink) {
    if (status.IsNotFound()) return;
    check(status, "get");
    sink.take(key, {value.data(), value.size()});
  }

  Variant variant_;
  rocksdb::WriteOptions write_options_, durable_options_;
  rocksdb::ReadOptions read_options_;
  std::unique_ptr<rocksdb::DB> db_;
};

EngineKind kind(const char* name, const char* description, Variant variant) {
  return {.name = name,
          .description = std::string("direct I/O, Bloom filters of 10 bits, 2 background jobs, ") +
                         description,
          .durable = variant.log,
          .reads = variant.log,
          .make = [variant] { return std::make_unique<RocksdbEngine>(variant); }};
}

}  // namespace

void add_rocksdb(std::vector<EngineKind>& kinds) {
  kinds.push_back(kind("rocksdb", "write-ahead log", {}));
  kinds.push_back(kind("rocksdb-nowal", "no log, flushed at the end", {.log = false}));
  kinds.push_back(kind("rocksdb-blob", "write-ahead log, values from 1 KiB in blob files, cached",
                       {.blobs = true}));
}

}  // namespace rawcache::bench
