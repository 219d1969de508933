// Guards: at the limits of the machine (space, file sizes, descriptors, memory, signals) a call
// fails with the Errc that belongs to it alone, or not at all, and loses nothing.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <vector>

#include "bad_input_fixture.h"
#include "disk/child.h"

namespace rawcache::testing {
namespace {

TEST_F(BadInput, AFullFileSystemIsNoSpaceAndLeavesNoFile) {
  if (!is_root()) GTEST_SKIP() << "mounting needs root";
  const Mount mount("none", directory_ / "small", "tmpfs", "size=1m");
  if (!mount.ok()) GTEST_SKIP() << "cannot mount a tmpfs here";
  const std::string path = directory_ / "small/cache";
  Options options = small_options();
  options.create_if_missing = true;
  EXPECT_EQ(complaint(RawDiskCache::open(path, options), Errc::no_space, {path, "free space"}), "");
  EXPECT_EQ(complaint(RawDiskCache::format(path, small_format()), Errc::no_space, {path}), "");
  EXPECT_NE(::access(path.c_str(), F_OK), 0) << "a file was left";
}

TEST_F(BadInput, AFileSystemThatFillsUpUnderASparseFileIsNoSpaceAndLosesNothing) {
  if (!is_root()) GTEST_SKIP() << "mounting needs root";
  const Mount mount("none", directory_ / "small", "tmpfs", "size=1m");
  if (!mount.ok()) GTEST_SKIP() << "cannot mount a tmpfs here";
  const std::string path = file_of("small/cache", "");
  ASSERT_EQ(::truncate(path.c_str(), kCapacity), 0);
  const auto made = RawDiskCache::format(path, small_format());
  ASSERT_TRUE(made) << made.error().message();
  auto cache = RawDiskCache::open(path, small_options());
  ASSERT_TRUE(cache) << cache.error().message();
  const std::string value(20000, 'v');
  Result<void> stored;
  int count = 0;
  while (stored && count < 100) {
    stored = cache->store("key" + std::to_string(count), value);
    if (stored) ++count;
  }
  EXPECT_EQ(complaint(stored, Errc::no_space, {"free space"}), "");
  EXPECT_GT(count, 10);
  for (int i = 0; i < count; ++i) {
    const auto found = cache->lookup("key" + std::to_string(i));
    ASSERT_TRUE(found) << i << ": " << found.error().message();
    EXPECT_EQ(found->view(), value);
  }
  EXPECT_EQ(complaint(cache->lookup("key" + std::to_string(count)), Errc::not_found, {}), "");
}

TEST_F(BadInput, AFileLargerThanTheProcessMayWriteIsNoSpace) {
  const std::string path = directory_ / "cache";
  EXPECT_EQ(in_child([&]() -> std::string {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{65536, 65536};
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit";
              return complaint(RawDiskCache::format(path, small_format()), Errc::no_space, {path});
            }),
            "");
  EXPECT_NE(::access(path.c_str(), F_OK), 0) << "a file was left";
}

TEST_F(BadInput, AtTheLimitOfDescriptorsItIsTooManyFiles) {
  const std::string path = cache_file();
  EXPECT_EQ(in_child([&]() -> std::string {
              const rlimit limit{64, 64};
              if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return "no limit";
              while (::open("/dev/null", O_RDONLY) >= 0) {
              }
              return complaint(RawDiskCache::open(path, small_options()), Errc::too_many_files,
                               {path, "ulimit -n"});
            }),
            "");
  expect_whole(path);
}

TEST_F(BadInput, MoreMemoryThanThereIsIsOutOfMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need the address space";
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "sanitizers need the address space";
#endif
#endif
  const std::string path = cache_file();
  const std::string before = bytes_of(path);
  EXPECT_EQ(in_child([&]() -> std::string {
              const rlimit limit{1_GiB, 1_GiB};
              if (::setrlimit(RLIMIT_AS, &limit) != 0) return "no limit";
              Options options = small_options();
              options.read_buffer_bytes = 4_GiB;
              std::string said = complaint(RawDiskCache::open(path, options), Errc::out_of_memory,
                                           {"read_buffer_bytes"});
              if (!said.empty()) return "read buffer: " + said;
              options = small_options();
              options.max_buffer_bytes = 1_GiB;
              said = complaint(RawDiskCache::open(path, options), Errc::out_of_memory,
                               {"write buffer"});
              return said.empty() ? said : "write buffer: " + said;
            }),
            "");
  EXPECT_TRUE(bytes_of(path) == before);
  expect_whole(path);
}

std::atomic<int> interruptions{0};

TEST_F(BadInput, SignalsInterruptNoCall) {
  const std::string path = cache_file();
  for (const IoEngine engine : {IoEngine::automatic, IoEngine::posix}) {
    const std::string said = in_child([&]() -> std::string {
      struct sigaction action{};
      action.sa_handler = [](int) { ++interruptions; };  // and no SA_RESTART
      ::sigaction(SIGALRM, &action, nullptr);
      const itimerval often{{0, 300}, {0, 300}};
      ::setitimer(ITIMER_REAL, &often, nullptr);
      Options options = small_options();
      options.engine = engine;
      options.maintenance_thread = false;
      auto cache = RawDiskCache::open(path, options);
      if (!cache) return "open: " + cache.error().message();
      const std::string value(5000, 'v');
      for (int i = 0; i < 200; ++i) {
        const std::string key = "key" + std::to_string(i % 50);
        if (auto done = i % 3 == 0 ? cache->store(key, value) : cache->store_buffered(key, value);
            !done) {
          return "store: " + done.error().message();
        }
        if (auto found = cache->lookup(key); !found || found->view() != value) return "lookup";
      }
      if (auto closed = cache->close(); !closed) return "close: " + closed.error().message();
      const itimerval never{};
      ::setitimer(ITIMER_REAL, &never, nullptr);
      return interruptions > 10 ? "" : "hardly a signal came";
    });
    EXPECT_EQ(said, "");
  }
  auto cache = RawDiskCache::open(path, small_options());
  ASSERT_TRUE(cache) << cache.error().message();
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(cache->lookup("key" + std::to_string(i))) << i;
  }
}

}  // namespace
}  // namespace rawcache::testing
