#include "server/meta_reply.h"

namespace rawcache::server {

namespace {

void add(std::string& line, char flag, std::uint64_t number) {
  line += ' ';
  line += flag;
  line += std::to_string(number);
}

/// Flags that tell of the item; nothing for those that do not.
void add_item_flag(std::string& line, char flag, const MetaItem& item) {
  switch (flag) {
    case 'c':
      return add(line, 'c', item.sequence);
    case 'f':
      return add(line, 'f', item.flags);
    case 's':
      return add(line, 's', item.value_bytes);
    case 'h':
      return add(line, 'h', item.asked_for ? 1 : 0);
    case 'l':
      return add(line, 'l', static_cast<std::uint64_t>(item.now - item.last_access));
    case 't':
      if (item.expires_at == 0) {
        line += " t-1";
        return;
      }
      return add(line, 't', static_cast<std::uint64_t>(item.expires_at - item.now));
    default:
      return;
  }
}

}  // namespace

std::string with_flags(std::string code, const Request& request, const MetaItem* item) {
  std::string line = std::move(code);
  std::string_view rest = request.meta.text;
  for (std::string_view word = take_word(rest); !word.empty(); word = take_word(rest)) {
    if (word[0] == 'O') {
      line += ' ';
      line += word;
    } else if (word[0] == 'k') {
      line += " k";
      line += request.key;
      if (request.meta.base64) line += " b";
    } else if (item != nullptr) {
      add_item_flag(line, word[0], *item);
    }
  }
  if (item != nullptr) line += item->marks;
  line += "\r\n";
  return line;
}

}  // namespace rawcache::server
