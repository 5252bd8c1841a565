-- Asks identengine about each call of FreeSWITCH, and reports the life of the call. docs/switches/freeswitch.md
-- describes the set-up.
--
--   lua identengine.lua                   the dialplan runs it for each call
--   luarun identengine.lua start …        when the call was answered (api_on_answer)
--   luarun identengine.lua stop …         when the call has ended (api_hangup_hook), or an attempt at a vendor has failed
--   luarun identengine.lua schedule       at the start of FreeSWITCH (startup-script in lua.conf.xml)
--   luarun identengine.lua sync           every SYNC seconds, by the scheduler
--
-- All settings are here at the top. A global variable overrides a setting: identengine_token in vars.xml sets TOKEN.

local function setting(name, default)
  local value = freeswitch.getGlobalVariable("identengine_" .. name)
  if value == nil or value == "" then
    return default
  end
  return value
end

-- "http" asks by mod_curl, "redis" by mod_hiredis.
local TRANSPORT = setting("transport", "http")
-- The engines, in the order in which they are asked, separated by blanks. With "redis" these are names of profiles in
-- hiredis.conf.xml.
local ENGINES = setting("engines", TRANSPORT == "http" and "http://127.0.0.1:8470" or "identengine")
-- The token of this switch in identengine's config. With "redis" it is the password in hiredis.conf.xml instead.
local TOKEN = setting("token", "change-this-token")
-- The accounts of the vendors, in the order in which they are tried, separated by blanks.
local VENDORS = setting("vendors", "900")
-- The profile of mod_sofia that sends calls to vendors.
local PROFILE = setting("profile", "external")
-- Seconds until an engine that does not answer is given up. mod_curl takes whole seconds.
local CONNECT = setting("connect", "1")
local TIMEOUT = setting("timeout", "2")
-- Seconds until an attempt at a vendor is given up. All attempts together must take less than 200 s, which is how long
-- identengine reserves a call ([calls] reserved).
local RING = setting("ring", "60")
-- Seconds between two lists of all calls. identengine holds an answered call without a list for three times as long.
local SYNC = setting("sync", "300")
-- "reject" answers 503 if no engine answers. "accept" sends the call to AWAY instead, with the numbers as they arrived.
local ON_OUTAGE = setting("on_outage", "reject")
local AWAY = setting("away", "")
-- How often a stop is sent until its engine answers, with pauses of 1, 2, 4, 8 and 16 s. Each stop that waits has a thread.
-- A stop that is lost is replaced by the lists of calls.
local STOPS = tonumber(setting("stops", "6"))

local api = freeswitch.API()

local function words(text)
  local found = {}
  for word in text:gmatch("%S+") do
    found[#found + 1] = word
  end
  return found
end

local function log(level, text)
  freeswitch.consoleLog(level, "identengine: " .. text .. "\n")
end

-- JSON. The values are strings, numbers, booleans, and arrays of arrays of one string (the calls of a list).

local function encode(value)
  if type(value) == "boolean" then
    return tostring(value)
  end
  if type(value) ~= "table" then
    return type(value) == "number" and string.format("%d", value) or '"' .. value:gsub('[%c"\\]', function(char)
      return string.format("\\u%04x", char:byte())
    end) .. '"'
  end
  local parts = {}
  if #value > 0 then
    for _, item in ipairs(value) do
      parts[#parts + 1] = encode(item)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for name, item in pairs(value) do
    parts[#parts + 1] = '"' .. name .. '":' .. encode(item)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- Return the members of a JSON object as strings, or nil if the text is not an object. Nested values are left out.
local function decode(text)
  if type(text) ~= "string" or text:sub(1, 1) ~= "{" then
    return nil
  end
  local found, at = {}, 2
  while true do
    local name, after = text:match('^%s*"([%w_]+)"%s*:%s*()', at)
    if not name then
      return found
    end
    local value, rest = text:match("^([%w%.%-]+)()", after)
    if not value and text:sub(after, after) == '"' then
      rest = after + 1
      while rest <= #text and text:sub(rest, rest) ~= '"' do
        rest = rest + (text:sub(rest, rest) == "\\" and 2 or 1)
      end
      value, rest = text:sub(after + 1, rest - 1):gsub("\\(.)", "%1"), rest + 1
    end
    if value ~= "null" then
      found[name] = value
    end
    at = rest and text:match("^%s*,()", rest)
    if not at then
      return found
    end
  end
end

-- Asking. An answer is a table, or nil if the engine did not answer or reported an error.

local function escaped(text)
  return (text:gsub("[^%w_%.%-]", function(char)
    return string.format("%%%02X", char:byte())
  end))
end

-- mod_curl divides its argument at blanks and decodes the body as a part of a URL.
local function by_http(engine, method, fields)
  return api:execute("curl", string.format(
    "%s/v1/%s connect-timeout %s timeout %s append_headers 'Authorization: Bearer %s' content-type application/json post %s",
    engine, method, CONNECT, TIMEOUT, TOKEN, escaped(encode(fields))
  ))
end

-- mod_hiredis divides its argument at blanks, into few parts. Old versions use it as a format of printf. So all fields are
-- in one part. No value may have a blank, a bar, a quote or a percent sign, which `route` ensures.
local COMMANDS = { authorize = "IDENT.AUTHJ", start = "IDENT.START", stop = "IDENT.STOP", sync = "IDENT.SYNC" }
local function by_redis(engine, method, fields)
  local parts = {}
  for name, value in pairs(fields) do
    for _, item in ipairs(type(value) == "table" and value or { value }) do
      parts[#parts + 1] = name .. "=" .. tostring(type(item) == "table" and item[1] or item)
    end
  end
  return api:execute("hiredis_raw", table.concat({ engine, COMMANDS[method], table.concat(parts, "|") }, " "))
end

local function ask_one(engine, method, fields)
  local text = (TRANSPORT == "redis" and by_redis or by_http)(engine, method, fields)
  local answer = decode(text)
  if not answer then
    log("ERR", engine .. " did not answer " .. method)
  elseif answer.status then -- an error of HTTP
    log("ERR", engine .. " answered " .. method .. " with " .. answer.status .. ": " .. tostring(answer.message))
    -- 4xx: another engine would say the same. 5xx: this engine is out of order.
    return nil, answer.status:sub(1, 1) == "4"
  elseif answer.reason == "not_ready" then -- this engine has no book, and decides nothing
    log("ERR", engine .. " is not ready")
    return nil
  end
  return answer
end

-- Ask the engines one after the other, beginning with `first` if it is given. Return the answer and its engine.
local function ask(method, fields, first)
  local order = { first }
  for _, engine in ipairs(words(ENGINES)) do
    if engine ~= first then
      order[#order + 1] = engine
    end
  end
  for _, engine in ipairs(order) do
    local answer, refused = ask_one(engine, method, fields)
    if answer then
      return answer, engine
    end
    if refused then
      return nil
    end
  end
  return nil
end

-- The life of a call

-- The engines that have answered an authorization of this call, and so may hold a slot of it. Without an answer, all.
local holders = {}

-- Return the command that sends a message about a call to its engines, in a thread of its own.
local function report(method, uuid, direction, leg)
  local engines = table.concat(#holders > 0 and holders or words(ENGINES), ",")
  return table.concat({ "identengine.lua", method, uuid, engines, direction or "", leg or "" }, " ")
end

-- Ask for an authorization. If another engine than before answers, the messages of the call are sent to both.
local function authorize(fields)
  local answer, engine = ask("authorize", fields, holders[#holders])
  if engine and engine ~= holders[#holders] then
    holders[#holders + 1] = engine
    session:setVariable("api_hangup_hook", "luarun " .. report("stop", fields.call_id))
    session:setVariable("api_on_answer", "luarun " .. report("start", fields.call_id))
  end
  return answer
end

local function reject(code, reason)
  -- 401 is right only together with a challenge.
  session:execute("respond", (code == "401" and "403" or code) .. " " .. reason)
end

local function bridge(number, target)
  session:execute("bridge", "sofia/" .. PROFILE .. "/" .. number:gsub("#", "%%23") .. "@" .. target)
  return session:answered()
end

-- Try the vendors one after the other. Each attempt is a leg of its own, so that a failed one frees its slot alone.
local function dial(uuid, src, dst)
  local code, reason = "480", "no vendor"
  for number, vendor in ipairs(words(VENDORS)) do
    local leg = "v" .. number
    local answer = authorize({
      call_id = uuid, leg_id = leg, direction = "termination", account_id = vendor, src_number = src, dst_number = dst,
    })
    if answer and answer.accepted == "true" and answer.host then
      if bridge(answer.dst_number, answer.host .. (answer.port and ":" .. answer.port or "")) then
        return -- the call was answered, and has ended
      end
      local cause = session:getVariable("last_bridge_proto_specific_hangup_cause") or ""
      code, reason = cause:match("^sip:(%d+)") or "480", "vendor"
    elseif answer and answer.accepted ~= "true" then
      code, reason = answer.sip_code, answer.reason
    else
      code, reason = "503", "no answer"
    end
    -- Also without an answer, since the engine may have reserved a slot.
    if not (answer and answer.accepted == "false") then
      api:execute("luarun", report("stop", uuid, "termination", leg))
    end
    if not session:ready() then
      return -- the caller has hung up
    end
  end
  reject(code, reason)
end

local function route()
  local uuid = session:getVariable("uuid")
  local src = (session:getVariable("caller_id_number") or ""):gsub("[;:].*", "")
  local dst = (session:getVariable("destination_number") or ""):gsub(";.*", ""):gsub("%%23", "#")
  local allowed = "^[%w%+%*#%.%-_]+$"
  if not dst:match(allowed) then
    return reject("484", "invalid_destination")
  end
  session:setVariable("sip_h_X-Tag", "") -- FreeSWITCH would copy a header of the caller into the INVITE to the vendor
  session:setVariable("continue_on_fail", "true")
  session:setVariable("hangup_after_bridge", "false")
  session:setVariable("call_timeout", RING)
  -- The hook is set before the engine is asked: an engine that answers too late may have reserved a slot.
  session:setVariable("api_hangup_hook", "luarun " .. report("stop", uuid))
  local fields = {
    call_id = uuid, src_ip = session:getVariable("sip_network_ip"), src_port = session:getVariable("sip_network_port"),
    protocol = "SIP", dst_number = dst,
  }
  if src:match(allowed) then
    fields.src_number = src
  end
  local answer = authorize(fields)
  if not answer then
    if ON_OUTAGE == "accept" then
      return bridge(dst, AWAY)
    end
    return reject("503", "no engine")
  end
  if answer.accepted ~= "true" then
    session:setVariable("api_hangup_hook", "") -- no slot is held
    session:setVariable("api_on_answer", "")
    log("NOTICE", uuid .. " rejected: " .. answer.reason)
    return reject(answer.sip_code, answer.reason)
  end
  if answer.src_number then
    session:setVariable("effective_caller_id_number", answer.src_number)
  end
  if answer.tag then
    session:setVariable("sip_h_X-Tag", answer.tag) -- a header of the INVITE to the vendor
  end
  dial(uuid, answer.src_number, answer.dst_number)
end

-- Send a message about a call to each of its engines until it answers, at most `tries` times.
local function repeated(tries, method, uuid, engines, direction, leg)
  local fields = { call_id = uuid, direction = direction, leg_id = leg }
  if method == "start" then
    fields.interval = SYNC
  end
  local waiting, pause = words(engines:gsub(",", " ")), 1
  for try = 1, tries do
    local silent = {}
    for _, engine in ipairs(waiting) do
      local answer, refused = ask_one(engine, method, fields)
      if not (answer or refused) then
        silent[#silent + 1] = engine
      end
    end
    if #silent == 0 then
      return
    end
    waiting = silent
    if try < tries then
      freeswitch.msleep(pause * 1000)
      pause = pause * 2
    end
  end
  log("ERR", method .. " of " .. uuid .. " was not answered by " .. table.concat(waiting, " "))
end

-- Return the ids of all calls, and true if FreeSWITCH has no channel at all. `show channels` prints rows of comma-separated
-- values, the id and the direction first, and then the number of rows.
local function all_calls()
  local calls, shown = {}, api:execute("show", "channels") or ""
  for line in shown:gmatch("[^\r\n]+") do
    local uuid, direction = line:match("^(%x+%-%x+%-%x+%-%x+%-%x+),(%a+),")
    if direction == "inbound" then
      calls[#calls + 1] = { uuid }
    end
  end
  return calls, shown:find("^%s*0 total%.") ~= nil
end

-- Send each engine the list of all calls, in parts of 500. An empty list is sent only if it is certain.
local function sync()
  local calls, none = all_calls()
  local list, parts = tostring(os.time()), math.ceil(#calls / 500)
  for _, engine in ipairs(words(ENGINES)) do
    if none then
      ask_one(engine, "sync", { list_id = list, confirm_empty = true })
    end
    for part = 1, parts do
      local some = {}
      for index = (part - 1) * 500 + 1, math.min(part * 500, #calls) do
        some[#some + 1] = calls[index]
      end
      ask_one(engine, "sync", { list_id = list, part = part, parts = parts, calls = some })
    end
  end
end

local mode = argv[1]
if not mode then
  route()
elseif mode == "start" then
  repeated(3, mode, argv[2], argv[3])
elseif mode == "stop" then
  repeated(STOPS, mode, argv[2], argv[3], argv[4], argv[5])
elseif mode == "sync" then
  sync()
elseif mode == "schedule" then
  api:execute("sched_del", "identengine")
  api:execute("sched_api", "@" .. SYNC .. " identengine luarun identengine.lua sync")
end
