// LMDB.
#include <lmdb.h>
#include <sys/mman.h>

#include "bench/engine.h"

namespace rawcache::bench {

namespace {

constexpr std::uint64_t kMapSlackBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kMapPerDataByte = 8;
constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kReadAheadBytesMin = 16 << 10;

class LmdbEngine final : public Engine {
 public:
  void open(const Settings& settings) override {
    const std::string path = settings.folder + "/data.mdb";
    if (settings.fresh) {
      ::remove(path.c_str());
      ::remove((path + "-lock").c_str());
    }
    const std::uint64_t data = settings.entries * (settings.value_bytes + 4096);
    // Without MDB_NOSYNC every commit is synced; with it, only what flush() asks for.
    const unsigned flags =
        MDB_NOSUBDIR | MDB_NORDAHEAD | MDB_NOMEMINIT | (settings.durable ? 0 : MDB_NOSYNC);
    check(mdb_env_create(&env_), "create");
    check(mdb_env_set_mapsize(env_, data * kMapPerDataByte + kMapSlackBytes), "map size");
    check(mdb_env_open(env_, path.c_str(), flags, 0600), "open");
    MDB_txn* transaction = begin(0);
    check(mdb_dbi_open(transaction, nullptr, 0, &table_), "open table");
    check(mdb_txn_commit(transaction), "commit");
  }

  void close() override { mdb_env_close(env_); }

  void put_batch(std::span<const Entry> entries) override {
    MDB_txn* transaction = begin(0);
    for (const Entry& entry : entries) {
      MDB_val key = bytes(entry.key);
      MDB_val value{entry.value.size(), const_cast<std::byte*>(entry.value.data())};
      check(mdb_put(transaction, table_, &key, &value, 0), "put");
    }
    check(mdb_txn_commit(transaction), "commit");
  }

  void put_durable(const Entry& entry) override { put_batch({&entry, 1}); }

  void flush() override { check(mdb_env_sync(env_, /*force=*/1), "sync"); }

  void get(const Key& key, Sink& sink) override { get_batch({&key, 1}, sink); }

  void get_batch(std::span<const Key> keys, Sink& sink) override {
    MDB_txn* transaction = begin(MDB_RDONLY);
    for (const Key& wanted : keys) {
      MDB_val key = bytes(wanted.view());
      MDB_val value{};
      const int error = mdb_get(transaction, table_, &key, &value);
      if (error == MDB_NOTFOUND) continue;
      check(error, "get");
      read_ahead(value);
      sink.take(wanted, {static_cast<const char*>(value.mv_data), value.mv_size});
    }
    mdb_txn_abort(transaction);
  }

 private:
  MDB_txn* begin(unsigned flags) {
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(env_, nullptr, flags, &transaction), "begin");
    return transaction;
  }

  /// Large values are asked for at once: a fault for each page would be the slowest way.
  static void read_ahead(const MDB_val& value) {
    if (value.mv_size < kReadAheadBytesMin) return;
    const auto begin = reinterpret_cast<std::uintptr_t>(value.mv_data) / kPageBytes * kPageBytes;
    const auto end = reinterpret_cast<std::uintptr_t>(value.mv_data) + value.mv_size;
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
  }

  static MDB_val bytes(std::string_view text) {
    return {text.size(), const_cast<char*>(text.data())};
  }

  static void check(int error, const char* what) {
    if (error != 0) fail(std::string("lmdb: ") + what, mdb_strerror(error));
  }

  MDB_env* env_ = nullptr;
  MDB_dbi table_ = 0;
};

}  // namespace

void add_lmdb(std::vector<EngineKind>& kinds) {
  kinds.push_back(
      {.name = "lmdb",
       .description =
           "no read-ahead but of large values; buffered puts are synced by the final flush only",
       .page_cache_only = true,
       .make = [] { return std::make_unique<LmdbEngine>(); }});
}

}  // namespace rawcache::bench
