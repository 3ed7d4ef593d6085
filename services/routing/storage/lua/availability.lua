-- Agents' own switches. ARGV: 3 each: agent, the agent's version, '1' or '0'.
for i = 1, #ARGV, 3 do
  local known = redis.call('HGET', base .. 'avail', ARGV[i])
  if not known or tonumber(string.match(known, '^%d+')) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', base .. 'avail', ARGV[i], ARGV[i + 1] .. '|' .. ARGV[i + 2])
  end
end
return 1
