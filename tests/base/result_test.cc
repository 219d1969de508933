// Guards that every error names situation, detail and remedy on one line, and has its name from the
// source.
#include "rawcache/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>

namespace rawcache {
namespace {

constexpr int kCodes = static_cast<int>(Errc::not_admitted) + 1;

TEST(Error, MessageNamesSituationDetailAndRemedy) {
  EXPECT_EQ(Error(Errc::not_a_cache, "/dev/sdx has no rawcache superblock").message(),
            "not a cache: /dev/sdx has no rawcache superblock; format it first (rawcache format)");
  EXPECT_EQ(Error(Errc::not_found).message(), "not found");
}

TEST(Error, MessageSaysWhatTheSystemSaid) {
  const Error error(Errc::io_error, "read of 4096 bytes at 8192", EIO);
  EXPECT_EQ(error.os_error(), EIO);
  EXPECT_NE(error.message().find("read of 4096 bytes at 8192 (Input/output error)"),
            std::string::npos)
      << error.message();
}

TEST(Error, MessageIsOneLineWhateverThePath) {
  const std::string message = Error(Errc::no_such_file, "/tmp/a\nb\x1b[2J\x7F").message();
  EXPECT_NE(message.find("/tmp/a?b?[2J?"), std::string::npos) << message;
}

TEST(Error, EveryCodeHasItsOwnNameAndMessage) {
  std::set<std::string_view> names;
  std::set<std::string> messages;
  for (int code = 0; code < kCodes; ++code) {
    names.insert(errc_name(static_cast<Errc>(code)));
    messages.insert(Error(static_cast<Errc>(code)).message());
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kCodes));
  EXPECT_EQ(messages.size(), static_cast<std::size_t>(kCodes));
  EXPECT_EQ(errc_name(Errc::not_found), "not_found");
  EXPECT_EQ(errc_name(Errc::sync_failed), "sync_failed");
  EXPECT_EQ(errc_name(Errc::buffer_full), "buffer_full");
  EXPECT_EQ(errc_name(static_cast<Errc>(kCodes)), "unknown");
}

TEST(Error, ComparesWithItsCode) {
  const Result<int> result = std::unexpected(Errc::closed);
  EXPECT_TRUE(result.error() == Errc::closed);
  EXPECT_FALSE(result.error() == Errc::not_found);
}

}  // namespace
}  // namespace rawcache
