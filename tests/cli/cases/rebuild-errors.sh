# Changed inputs are named, damaged records refused, nothing is written where it should not be.
cp m/dense-f16.gguf in.gguf
cp -rL m/hf hf
must quantize --provenance -q in.gguf out.gguf Q8_0
must merge --provenance -q --method linear --base hf --model m/hf-b --param weight=0.5 merged
cp out.gguf want.gguf
# The output is there.
q rebuild out.gguf.quern.json
q rebuild -q -f out.gguf.quern.json
same out.gguf want.gguf
# One weight of one tensor, the header, the size; a small file; a missing one.
python3 - <<'P'
data = bytearray(open("in.gguf", "rb").read())
data[-1000] ^= 1
open("bit.gguf", "wb").write(data)
data[-1000] ^= 1
data[100] ^= 1
open("header.gguf", "wb").write(data)
open("short.gguf", "wb").write(data[:-32])
P
for bad in bit header short missing; do q rebuild out.gguf.quern.json --input in.gguf=$bad.gguf -o again.gguf; done
q rebuild --json out.gguf.quern.json --input in.gguf=bit.gguf -o again.gguf
# The output in place of its record.
q rebuild out.gguf
# A file that was not there.
echo '{}' >hf/extra.json
q rebuild merged.quern.json -o again
rm hf/extra.json
mkdir moved
mv hf in.gguf moved
q rebuild out.gguf.quern.json -o again.gguf
q rebuild -q merged.quern.json --input hf=moved/hf -o again
diff -r merged again && rm -r again
q rebuild -q out.gguf.quern.json --input in.gguf=moved/in.gguf -o again.gguf
same again.gguf want.gguf && rm again.gguf
sed -i 's/"eos_token"/"Eos_token"/' moved/hf/tokenizer_config.json
sed -i 's/{/{ /' moved/hf/config.json
q rebuild merged.quern.json --input hf=moved/hf -o again
# Outputs that come to something else.
record=$(sed 's/\("file": "out.gguf".*"sha256": "\)...../\100000/' out.gguf.quern.json)
echo "$record" >other.quern.json
q rebuild other.quern.json --input in.gguf=moved/in.gguf -o again.gguf
# shellcheck disable=SC2001 # a pattern
echo "${record/\"version\": \"/\"version\": \"9.}" | sed 's/"version": "[^"]*"/"version": "9.1.0"/' >old.quern.json
q rebuild old.quern.json --input in.gguf=moved/in.gguf -o again.gguf
# Records that are none.
bad() { # SED-SCRIPT
    echo "$1"
    sed "$1" out.gguf.quern.json >bad.quern.json
    q rebuild bad.quern.json -o again.gguf
}
bad 's/"quern_record": 1/"quern_record": 2/'
bad 's/"quern_record"/"record"/'
bad 's/"command":"quantize"/"command":"rebuild"/'
bad 's/"options":{}/"options":{"force":true}/'
bad 's/"options":{}/"options":{"output":"\/tmp\/x"}/'
bad 's/"options":{}/"options":{"no-such":true}/'
bad 's/"output": "out.gguf"/"output": "..\/out.gguf"/'
bad 's/"form": "file"/"form": "device"/'
bad 's/"Q8_0"/"Q8_0","2","3"/'
# shellcheck disable=SC2016 # a literal dollar
bad '$d'
bad 's/"sha256": "./"sha256": "X/'
bad 's/"bytes": /"bytes": -/'
sed 's/"job": .*/"job": {"command":"convert","words":[],"options":{"print-supported-models":true}},/' out.gguf.quern.json >bad.quern.json
q rebuild bad.quern.json -o again.gguf
sed 's/"job": .*/"job": {"command":"imatrix","words":["show","in.gguf"]},/' out.gguf.quern.json >bad.quern.json
q rebuild bad.quern.json --input in.gguf=moved/in.gguf -o again.gguf
q rebuild out.gguf.quern.json -o again.safetensors --input in.gguf=moved/in.gguf
mv bad.quern.json bad.json
q rebuild bad.json
q rebuild
q rebuild out.gguf.quern.json --input in.gguf
q rebuild out.gguf.quern.json --provenance
q convert --provenance m/hf x.gguf --pre llama-bpe --learn m/hf want.gguf --write-map map.yml
# A record that is there stays.
rm out.gguf
q quantize --provenance moved/in.gguf out.gguf Q8_0
files
