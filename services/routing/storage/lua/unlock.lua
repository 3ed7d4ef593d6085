-- ARGV: the token that locked.
if redis.call('GET', base .. 'parking') == ARGV[1] then
  return redis.call('DEL', base .. 'parking')
end
return 0
