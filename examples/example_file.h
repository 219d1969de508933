// The file of an example: the one that is named, or a temporary one that is removed at the end.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>

class ExampleFile {
 public:
  ExampleFile(int argc, char** argv)
      : path_(argc > 1 ? argv[1]
                       : (std::filesystem::temp_directory_path() /
                          ("rawcache-example-" + std::to_string(::getpid())))
                             .string()),
        temporary_(argc <= 1) {}
  ~ExampleFile() {
    std::error_code ignored;
    if (temporary_) std::filesystem::remove(path_, ignored);
  }
  ExampleFile(const ExampleFile&) = delete;
  ExampleFile& operator=(const ExampleFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool temporary_;
};
