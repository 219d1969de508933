// Tells systemd how the service is doing.
#pragma once

#include <string_view>

namespace rawcache::server {

/// "READY=1", "STOPPING=1" ... to $NOTIFY_SOCKET; nothing without one.
void sd_notify(std::string_view state);

}  // namespace rawcache::server
