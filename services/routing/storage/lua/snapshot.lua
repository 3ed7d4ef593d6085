-- One tenant at one moment. ARGV: now, milliseconds for which one timer's turn lasts ('0': not the
-- timer's), then agents. Returns {built, queues, counts, loads, presence,
-- availability, turns}, or {'turn'} when another pod's timer has this turn.
local now, turn = ARGV[1], ARGV[2]
if redis.call('EXISTS', base .. 'built') == 0 then return {'0'} end
if turn ~= '0' and not redis.call('SET', base .. 'timer', '1', 'NX', 'PX', turn) then
  return {'turn'}
end
expire_reservations(now)
local queues = {}
for _, team in ipairs(redis.call('SMEMBERS', base .. 'queues')) do
  queues[#queues + 1] = {team, redis.call('ZCARD', base .. 'q:' .. team),
    redis.call('ZCARD', base .. 'todo:' .. team), redis.call('HGET', base .. 'reason', team) or ''}
end
local loads, presence, availability, turns = {}, {}, {}, {}
for i = 3, #ARGV do
  loads[i - 2] = redis.call('SCARD', base .. 'a:' .. ARGV[i])
  presence[i - 2] = redis.call('HGET', base .. 'presence', ARGV[i]) or ''
  availability[i - 2] = redis.call('HGET', base .. 'avail', ARGV[i]) or ''
  turns[i - 2] = redis.call('HGET', base .. 'turn', ARGV[i]) or '0'
end
local counts = {redis.call('ZCARD', base .. 'heldtodo'), redis.call('ZCARD', base .. 'res'),
  redis.call('ZCARD', base .. 'unsent')}
return {'1', queues, counts, loads, presence, availability, turns}
