# What a job has made under another name gives it no right to a file that is not its own.
cat >jobs.yml <<'Y'
version: 1
jobs:
  - {name: a, quantize: m/dense-f16.gguf, type: Q8_0, output: one.gguf}
Y
echo foreign >two.gguf
q batch jobs.yml
sed -i 's/one.gguf/two.gguf/' jobs.yml
q batch jobs.yml
cat two.gguf
# nor has a job that was interrupted
sed -i 's/two.gguf/one.gguf/' jobs.yml
q batch jobs.yml -q
sed -i 's/"stage":"done"/"stage":"started"/' .jobs.yml.quern-batch/*.json
sed -i 's/one.gguf/two.gguf/' jobs.yml
q batch jobs.yml
cat two.gguf
# its own it may replace, and anything when it is told to
sed -i 's/two.gguf/one.gguf/; s/Q8_0/Q4_0/' jobs.yml
q batch jobs.yml
sed -i 's/one.gguf/two.gguf/' jobs.yml
q batch jobs.yml -f
q batch jobs.yml
