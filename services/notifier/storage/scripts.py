"""The Lua of the feed and of presence; every call touches keys of one tenant only."""

from __future__ import annotations

from typing import Final

from shared.redis.client import Script

# The feed's head: epoch, source (identity of the server), seq; `floor:<stream>` is the highest seq
# trimmed from a ring, `top:<stream>` the highest written to it. A raised epoch also lifts seq to
# the clock's microseconds: numbers that a lost write had used are never given again.
_HEAD: Final = """
local function now_parts()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000), string.format('%.0f', t[1] * 1000000 + t[2])
end
local function raise_epoch(head, fresh, source, micros)
  local seq = redis.call('HGET', head, 'seq')
  if not seq or tonumber(seq) < tonumber(micros) then
    redis.call('HSET', head, 'seq', micros)
  end
  redis.call('HSET', head, 'epoch', fresh, 'source', source)
end
"""

# KEYS: head, last, marks, all, other streams...
# ARGV: version, gap_free, fresh epoch, source, ring events, ring age ms, stream ttl ms,
#       last ttl s, channel or '', before, after, body, names of the streams...
# Answers '1' or '0' (written or not), then the reason of a raised epoch if any. No table: Redis 6
# sends what a script puts around nested values in system calls of their own.
WRITE: Final = Script(
    _HEAD
    + """
local head = redis.call('HMGET', KEYS[1], 'epoch', 'source', 'marked')
local last = redis.call('GET', KEYS[2])
local version, epoch, reason = tonumber(ARGV[1]), head[1], ''
local ms, micros = now_parts()
if not epoch then reason = 'absent'
elseif head[2] ~= ARGV[4] then reason = 'server_changed' end
local stale = false
if last then
  local held = tonumber(string.match(last, '^%d+'))
  if version <= held then stale = true
  elseif ARGV[2] == '1' and version > held + 1 and reason == '' then reason = 'gap' end
end
if reason ~= '' then
  epoch = ARGV[3]
  raise_epoch(KEYS[1], epoch, ARGV[4], micros)
end
-- Also for what was written before: the call that wrote it may have died before its wake-up.
if ARGV[9] ~= '' then redis.call('PUBLISH', ARGV[9], '') end
if stale then return '0' .. reason end
redis.call('SET', KEYS[2], ARGV[1] .. '\\n' .. ARGV[11], 'EX', ARGV[8])
local seq = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'seq', 1))
local age = tonumber(ARGV[6])
if not head[3] or ms - tonumber(head[3]) >= age / 16 then
  redis.call('RPUSH', KEYS[3], seq)
  redis.call('LTRIM', KEYS[3], -17, -1)
  redis.call('HSET', KEYS[1], 'marked', string.format('%.0f', ms))
end
local old = redis.call('LINDEX', KEYS[3], -17)
local tops = {}
for i = 4, #KEYS do
  local stream, name = KEYS[i], ARGV[i + 9]
  local entry = {seq .. '-0', 'e', epoch, 'b', ARGV[10], 'a', ARGV[11], 'd', ARGV[12]}
  if not redis.call('XADD', stream, 'NOMKSTREAM', unpack(entry)) then
    local top = redis.call('HGET', KEYS[1], 'top:' .. name)
    if top then redis.call('HSET', KEYS[1], 'floor:' .. name, top) end
    redis.call('XADD', stream, unpack(entry))
  end
  local gone = redis.call('XTRIM', stream, 'MAXLEN', '~', ARGV[5])
  if old then gone = gone + redis.call('XTRIM', stream, 'MINID', '~', old .. '-0') end
  if gone > 0 then
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1][1]
    local floor = string.format('%.0f', tonumber(string.match(first, '^%d+')) - 1)
    redis.call('HSET', KEYS[1], 'floor:' .. name, floor)
  end
  tops[#tops + 1] = 'top:' .. name
  tops[#tops + 1] = seq
  redis.call('PEXPIRE', stream, ARGV[7])
end
redis.call('HSET', KEYS[1], unpack(tops))
return '1' .. reason
"""
)

# KEYS: head, streams...  ARGV: fresh epoch, source, channel, after (or ''), limit, names...
# Answers {epoch, seq, floor, {id, epoch, before, after, body, id, ...} of each stream}: one moment
# of the feed. One flat table for each stream: see above.
READ: Final = Script(
    _HEAD
    + """
local head = redis.call('HMGET', KEYS[1], 'epoch', 'source', 'seq')
if not head[1] or head[2] ~= ARGV[2] then
  local _, micros = now_parts()
  raise_epoch(KEYS[1], ARGV[1], ARGV[2], micros)
  redis.call('PUBLISH', ARGV[3], '')
  head = redis.call('HMGET', KEYS[1], 'epoch', 'source', 'seq')
end
local floor, found = '0', {}
for i = 2, #KEYS do
  local kept = redis.call('EXISTS', KEYS[i]) == 1
  local low = redis.call('HGET', KEYS[1], (kept and 'floor:' or 'top:') .. ARGV[i + 4])
  if low and tonumber(low) > tonumber(floor) then floor = low end
  local flat = {}
  if ARGV[4] ~= '' then
    local entries = redis.call('XRANGE', KEYS[i], '(' .. ARGV[4] .. '-0', '+', 'COUNT', ARGV[5])
    for _, entry in ipairs(entries) do
      local n, members = #flat, entry[2]
      flat[n + 1], flat[n + 2] = entry[1], members[2]
      flat[n + 3], flat[n + 4], flat[n + 5] = members[4], members[6], members[8]
    end
  end
  found[i - 1] = flat
end
return {head[1], head[3], floor, unpack(found)}
"""
)

# KEYS: sockets of the agent, states of the tenant
# ARGV: agent, what (join | beat | leave | look), ttl ms, limit, socket ids...
# Answers {present, counter, since ms, changed, refused, last expiry ms}.
PRESENCE: Final = Script("""
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local what, ttl, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local refused = 0
for i = 5, #ARGV do
  if what == 'leave' then
    redis.call('ZREM', KEYS[1], ARGV[i])
  elseif what == 'join' and not redis.call('ZSCORE', KEYS[1], ARGV[i])
      and redis.call('ZCARD', KEYS[1]) >= limit then
    refused = 1
  elseif what ~= 'look' then
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + ttl), ARGV[i])
  end
end
redis.call('PEXPIRE', KEYS[1], ttl * 2)
local top = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
local present = top[1] and 1 or 0
local counter, was, since = 0, 0, 0
local state = redis.call('HGET', KEYS[2], ARGV[1])
if state then
  local a, b, c = string.match(state, '^(%d+) (%d) (%d+)$')
  counter, was, since = tonumber(a), tonumber(b), tonumber(c)
end
local changed = 0
if present ~= was then
  -- The clock keeps the counter rising also when Redis lost it.
  counter, since, changed = math.max(counter + 1, now), now, 1
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f %d %.0f', counter, present, since))
end
local n = function(x) return string.format('%.0f', x) end
return {present, n(counter), n(since), changed, refused, top[2] or '0'}
""")

# KEYS: due  ARGV: limit, lease ms.  Takes agents that are due; who dies holding one loses it
# when the lease ends.
CLAIM_DUE: Final = Script("""
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now),
                       'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), member)
end
return due
""")
