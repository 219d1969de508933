# The server: a library for the tool and the tests. Only asio_loop, http_client, http_server, listener
# and server know asio.

find_path(RAWCACHE_ASIO_INCLUDE_DIR asio.hpp REQUIRED DOC "Where asio lies (libasio-dev)")
mark_as_advanced(RAWCACHE_ASIO_INCLUDE_DIR)

include(RawcacheEmbed)
rawcache_embed(generated/server/live_page.h rawcache::server
    kLiveHtml server/page/live.html
    kLiveCss server/page/live.css
    kLiveJs server/page/live.js)

add_library(rawcache_server STATIC
    server/access_table.cc
    server/arithmetic.cc
    server/asio_loop.cc
    server/auth.cc
    server/connection.cc
    server/executor.cc
    server/http_client.cc
    server/http_request.cc
    server/http_server.cc
    server/input_buffer.cc
    server/listener.cc
    server/log.cc
    server/meta.cc
    server/meta_parser.cc
    server/meta_reply.cc
    server/observer.cc
    server/on_start.cc
    server/parser.cc
    server/replies.cc
    server/retrieve.cc
    server/sd_notify.cc
    server/server.cc
    server/server_fields.cc
    server/stats_command.cc
    server/storage.cc
    server/tls.cc
    server/worker_pool.cc)
rawcache_compile_options(rawcache_server)
# No coroutines: g++ 12 destroys some temporaries in them twice, and clang finds them elsewhere.
target_compile_definitions(rawcache_server PRIVATE ASIO_STANDALONE ASIO_DISABLE_CO_AWAIT)
target_include_directories(rawcache_server SYSTEM PRIVATE ${RAWCACHE_ASIO_INCLUDE_DIR})
target_include_directories(rawcache_server PUBLIC ${PROJECT_SOURCE_DIR})
target_link_libraries(rawcache_server PUBLIC rawcache_metrics rawcache_internal)

find_package(OpenSSL)
if(OPENSSL_FOUND)
  target_compile_definitions(rawcache_server PRIVATE RAWCACHE_HAVE_TLS)
  target_link_libraries(rawcache_server PRIVATE OpenSSL::SSL)
else()
  message(STATUS "libssl-dev is not installed: no TLS")
endif()
