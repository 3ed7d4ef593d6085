-- Reservations made before ARGV[1] whose record may be missing: {id, attempt, agent, value} each.
-- ARGV[2]: at most so many.
local found = {}
if redis.call('EXISTS', base .. 'built') == 0 then return found end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. 'unsent', '-inf', ARGV[1],
    'LIMIT', 0, ARGV[2])) do
  local c = load(id)
  if c and c.ra then
    found[#found + 1] = {id, c.n, c.ra, c.rd}
  else
    redis.call('ZREM', base .. 'unsent', id)
  end
end
return found
