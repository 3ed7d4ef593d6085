-- Starts a rebuild. ARGV: token, '1' when routing stops until it is done. Returns the generation.
if ARGV[2] == '1' then redis.call('DEL', base .. 'built') end
redis.call('SET', base .. 'building', ARGV[1])
return redis.call('INCR', base .. 'gen')
