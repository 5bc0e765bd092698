-- Posts one JSON body. The body's path and the token come in the environment, so that neither is in a command line.
local file = assert(io.open(os.getenv("BENCHMARK_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
local token = os.getenv("BENCHMARK_TOKEN")
if token then wrk.headers["Authorization"] = "Bearer " .. token end
