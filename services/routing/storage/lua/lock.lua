-- One pod at a time writes a tenant's park records. ARGV: token, milliseconds. 1 when it is ours.
if redis.call('SET', base .. 'parking', ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
