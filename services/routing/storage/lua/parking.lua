-- The reason that a queue is parked with from now on. ARGV: team, reason. With another reason than
-- before, the whole queue lacks its records.
if redis.call('HGET', base .. 'reason', ARGV[1]) == ARGV[2] then return 0 end
if redis.call('EXISTS', base .. 'q:' .. ARGV[1]) == 0 then return 0 end
redis.call('HSET', base .. 'reason', ARGV[1], ARGV[2])
redis.call('ZUNIONSTORE', base .. 'todo:' .. ARGV[1], 1, base .. 'q:' .. ARGV[1])
return 1
