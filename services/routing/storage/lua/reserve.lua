-- Keeps a slot of an agent for one decision. ARGV: now, expiry, conversation, episode, epoch,
-- agent, capacity, the record's value. Returns {outcome, attempt}; a conversation that has a slot
-- already keeps it ('reserved'), so a repeated call changes nothing.
local now, expiry, id, ep, epo = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local agent, capacity, value = ARGV[6], tonumber(ARGV[7]), ARGV[8]
if redis.call('EXISTS', base .. 'built') == 0 then return {'unbuilt', 0} end
expire_reservations(now)
local c = load(id)
if not c or c.st ~= 'on_hold' or c.held == '1' or c.ep ~= ep or c.epo ~= epo then
  return {'changed', 0}
end
if c.ra then return {'reserved', tonumber(c.n)} end
if redis.call('SCARD', base .. 'a:' .. agent) >= capacity then return {'full', 0} end
local attempt = redis.call('HINCRBY', base .. 'c:' .. id, 'n', 1)
redis.call('HSET', base .. 'c:' .. id, 'ra', agent, 'rd', value, 'rx', expiry)
redis.call('SADD', base .. 'a:' .. agent, id)
redis.call('ZADD', base .. 'res', expiry, id)
redis.call('ZADD', base .. 'unsent', now, id)
redis.call('HINCRBY', base .. 'turn', '', 1)
redis.call('HSET', base .. 'turn', agent, redis.call('HGET', base .. 'turn', ''))
dequeue(id, c.team)
return {'ok', attempt}
