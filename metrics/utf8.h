// UTF-8, as far as text from anywhere has to be shown. A pure function.
#pragma once

#include <cstddef>
#include <string_view>

namespace rawcache::metrics {

/// Bytes of the character that `text` (not empty) begins with; 0 if that is not UTF-8.
std::size_t utf8_length(std::string_view text);

}  // namespace rawcache::metrics
