-- The oldest of a queue. ARGV: key name, at most so many.
-- Returns {id, episode, epoch, team, since, last agent, parked reason, attempt, held} each.
local heads = {}
for _, id in ipairs(redis.call('ZRANGE', base .. ARGV[1], 0, tonumber(ARGV[2]) - 1)) do
  local c = load(id)
  if c then
    heads[#heads + 1] = {id, c.ep, c.epo, c.team, c.since, c.last, c.parked, c.n, c.held}
  end
end
return heads
