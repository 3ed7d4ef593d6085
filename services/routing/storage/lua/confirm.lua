-- The records of these reservations are on the topic. ARGV: pairs of conversation and attempt.
for i = 1, #ARGV, 2 do
  if redis.call('HGET', base .. 'c:' .. ARGV[i], 'n') == ARGV[i + 1] then
    redis.call('ZREM', base .. 'unsent', ARGV[i])
  end
end
return 1
