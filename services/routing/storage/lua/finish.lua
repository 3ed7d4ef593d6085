-- Ends a rebuild. ARGV: token, generation, seconds to keep closed ones. What neither the list nor
-- an event showed since the start is closed. Returns 0 when Redis lost the start or another
-- rebuild began: nothing is built then; else 1 + how many were swept.
if redis.call('GET', base .. 'building') ~= ARGV[1] then return 0 end
local swept = redis.call('ZRANGEBYSCORE', base .. 'live', '-inf', '(' .. ARGV[2])
for _, id in ipairs(swept) do
  local c = load(id)
  if c then
    leave(id, c)
    redis.call('HSET', base .. 'c:' .. id, 'st', 'closed', 'held', '0')
    redis.call('EXPIRE', base .. 'c:' .. id, ARGV[3])
  end
  redis.call('ZREM', base .. 'live', id)
end
redis.call('DEL', base .. 'building')
redis.call('SET', base .. 'built', ARGV[1])
return 1 + #swept
