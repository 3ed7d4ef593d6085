-- Park records that are on the topic. ARGV: key name of the queue without records, reason, then
-- 3 each: conversation, episode, epoch.
for i = 3, #ARGV, 3 do
  local id = ARGV[i]
  local c = load(id)
  if c and c.st == 'on_hold' and c.ep == ARGV[i + 1] and c.epo == ARGV[i + 2] then
    if c.parked ~= ARGV[2] then
      redis.call('HSET', base .. 'c:' .. id, 'parked', ARGV[2])
      redis.call('HINCRBY', base .. 'c:' .. id, 'n', 1)
    end
    redis.call('ZREM', base .. ARGV[1], id)
  end
end
return 1
