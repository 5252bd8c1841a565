-- A stand-in for FreeSWITCH, so that a script of mod_lua runs as it is: lua freeswitch.lua SCRIPT SCENARIO
--
-- SCENARIO is a Lua file that returns a table: the variables of the channel, the global variables, the results of the
-- bridges in their order ("answer", "cancel" or a SIP code), and the arguments of the script. The API commands `curl` and
-- `hiredis_raw` run curl and redis-cli with the bytes that mod_curl and mod_hiredis would send. Each line of the output
-- is one event.

local script, scenario = arg[1], dofile(arg[2])
local channel, bridges = scenario.variables or {}, scenario.bridges or {}
local state = { ready = true, answered = false }
local hooks = {}

local function event(...)
  print(table.concat({ ... }, " "))
end

local function run(command)
  local pipe = assert(io.popen(command .. " 2> /dev/null"))
  local output = pipe:read("a")
  pipe:close()
  return output
end

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- The words of a command, as switch_separate_string divides it: at blanks outside single quotes.
local function separated(text)
  local found, at = {}, 1
  while true do
    at = text:match("^ *()", at)
    if at > #text then
      return found
    end
    local word, after = text:match("^'([^']*)'()", at)
    if not word then
      word, after = text:match("^([^ ]*)()", at)
    end
    found[#found + 1], at = word, after
  end
end

-- mod_curl: curl URL [connect-timeout N|timeout N|append_headers H|content-type T]… post DATA, the data as part of a URL.
local function curl(command)
  local parts = separated(command)
  local options = { "-s", "-A freeswitch-curl/1.0", "-L --max-redirs 15" }
  local at = 2
  while at <= #parts do
    local word, value = parts[at], parts[at + 1]
    if word == "connect-timeout" then
      options[#options + 1] = "--connect-timeout " .. value
    elseif word == "timeout" then
      options[#options + 1] = "--max-time " .. value
    elseif word == "append_headers" then
      options[#options + 1] = "-H " .. quoted(value)
    elseif word == "content-type" then
      options[#options + 1] = "-H " .. quoted("Content-Type: " .. value)
    elseif word == "post" then
      local body = value:gsub("%%(%x%x)", function(code)
        return string.char(tonumber(code, 16))
      end)
      event("curl", parts[1]:match("[^/]*$"), body)
      options[#options + 1] = "--data-raw " .. quoted(body)
    else
      error("mod_curl knows no " .. word)
    end
    at = at + 2
  end
  return run("curl " .. table.concat(options, " ") .. " " .. quoted(parts[1]))
end

-- mod_hiredis: hiredis_raw PROFILE COMMAND…
local function hiredis(command)
  local parts = separated(command)
  local options = assert(scenario.profiles[parts[1]], "no profile " .. parts[1])
  assert(not command:find('[%%"\\]'), "a version of mod_hiredis would change this command: " .. command)
  local line = {}
  for at = 2, #parts do
    line[#line + 1] = quoted(parts[at])
  end
  event("redis", table.concat(parts, " ", 2))
  return (run("redis-cli " .. options .. " " .. table.concat(line, " ")):gsub("\n$", ""))
end

local load_script

local API = {}
API.__index = API
function API:execute(name, command)
  if name == "curl" then
    return curl(command)
  elseif name == "hiredis_raw" then
    return hiredis(command)
  elseif name == "luarun" then
    return load_script(separated(command))
  elseif name == "show" and command == "channels" then
    return scenario.channels
  elseif name == "sched_api" or name == "sched_del" then
    return event(name, command)
  end
  error("FreeSWITCH knows no " .. name)
end

freeswitch = {
  API = function()
    return setmetatable({}, API)
  end,
  consoleLog = function(level, text)
    event("log", level, (text:gsub("\n$", "")))
  end,
  getGlobalVariable = function(name)
    return (scenario.globals or {})[name]
  end,
  msleep = function(milliseconds)
    event("msleep", string.format("%d", milliseconds))
    os.execute("sleep " .. milliseconds / 10000) -- a tenth
  end,
}

local Session = {}
Session.__index = Session
function Session:getVariable(name)
  return channel[name]
end
function Session:setVariable(name, value)
  assert(type(value) == "string", name)
  channel[name] = value ~= "" and value or nil
end
function Session:ready()
  return state.ready
end
function Session:answered()
  return state.answered
end
function Session:execute(name, data)
  event(name, data, name == "bridge" and "from " .. (channel.effective_caller_id_number or "") or "")
  if name == "respond" then
    state.ready = false
  elseif name == "bridge" then
    if channel["sip_h_X-Tag"] then
      event("header", "X-Tag:", channel["sip_h_X-Tag"])
    end
    local result = table.remove(bridges, 1)
    if result == "answer" then
      state.answered, state.ready = true, false
      if channel.api_on_answer then
        API:execute(channel.api_on_answer:match("^(%S+) (.*)$"))
      end
      event("talking")
      if scenario.during then
        scenario.during()
      end
    elseif result == "cancel" then
      state.ready = false
    else
      channel.last_bridge_proto_specific_hangup_cause = "sip:" .. result
    end
  else
    error("FreeSWITCH knows no " .. name)
  end
end

function load_script(parts)
  local caller, given = session, argv
  session, argv = nil, { table.unpack(parts, 2) }
  dofile(script)
  session, argv = caller, given
  return "+OK"
end

if scenario.argv then
  argv = scenario.argv
  dofile(script)
else
  session, argv = setmetatable({}, Session), {}
  dofile(script)
  if channel.api_hangup_hook then
    API:execute(channel.api_hangup_hook:match("^(%S+) (.*)$"))
  end
end
