-- Presence events. ARGV: now, milliseconds after which a silent counter is forgotten, then 4 each:
-- agent, counter, '1' present or '0', time. A lower counter is an older truth and is dropped,
-- unless the known one has not been repeated for so long that its counter must have been lost.
-- Kept as counter|present|since|repeated at; an absence whose beginning was not seen is since 0.
local now, forget = tonumber(ARGV[1]), tonumber(ARGV[2])
local changed = 0
for i = 3, #ARGV, 4 do
  local agent, counter, present, at = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local known = redis.call('HGET', base .. 'presence', agent)
  local since, take = at, true
  if known then
    local c, p, s, seen = string.match(known, '^(%d+)|(%d)|(%d+)|(%d+)$')
    c, seen = tonumber(c), tonumber(seen)
    if counter < c and now - seen < forget then take = false end
    if take and p == present then since = s end
    if p ~= present and take then changed = changed + 1 end
  else
    if present == '0' then since = '0' end
    changed = changed + 1
  end
  if take then
    redis.call('HSET', base .. 'presence', agent,
      ARGV[i + 1] .. '|' .. present .. '|' .. since .. '|' .. ARGV[1])
  end
end
return changed
